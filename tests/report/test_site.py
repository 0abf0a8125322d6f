"""The static site as written: places, commands, links, and what it makes of bad inputs."""

from __future__ import annotations

import html
import json
import re
import shlex
import shutil

import pytest
from commands import imports
from made_runs import draw, save_grid, save_run
from processes import ROOT
from test_report import Page

from script_exp.analysis.cells import make_cells
from script_exp.cell.prepared import RunCell
from script_exp.commands.site import main
from script_exp.config.settings import RunSettings
from script_exp.errors import UserError
from script_exp.report.board import ABOVE, WITHIN, boards, places
from script_exp.report.images import Image
from script_exp.report.made_by import command
from script_exp.report.sheets import Sheets
from script_exp.report.site import addresses, published_tables
from script_exp.results.read import load_runs
from script_exp.sweeps.experiment import composed_cells

HARMFUL = "<img src=x onerror='document.title=1'><script>document.title=2</script>"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site of some of the repository's results, without samples."""
    folder = tmp_path_factory.mktemp("site")
    methods = "random,cdpruner,fastv,trim"
    process, modules = imports("analysis/site.py", ROOT / "results", "--to", folder, "--pruner", methods)
    assert (process.returncode, process.stderr) == (0, "")
    assert "torch" not in modules
    assert process.stdout.startswith(f"14 files: {folder}/index.html (")
    return folder


def test_every_page_loads_only_files_of_the_site_and_every_link_leads_somewhere(site):
    pages = [*site.rglob("*.html")]
    assert len(pages) == 7
    for file in pages:
        page = Page(file.read_text())
        assert len(set(page.ids)) == len(page.ids), file
        for tag, attributes in page.elements:
            for name in ("src", "href"):
                target = attributes.get(name, "#")
                if target.startswith("#"):
                    assert target in ("#", *(f"#{one}" for one in page.ids)), (file, target)
                elif target.startswith("https://"):
                    assert tag == "a", (file, target)
                elif not target.startswith("data:image/"):
                    assert (file.parent / target.partition("#")[0]).is_file(), (file, target)
        policy = next(one["content"] for one in page.of("meta") if "http-equiv" in one)
        assert policy.startswith("default-src 'none'; img-src data:;")


def test_the_list_has_the_best_place_of_each_method(site):
    """The smallest of its page; methods above the budget have none."""
    page = Page((site / "index.html").read_text())
    listed = next(table for table in page.tables if table[0] == ["Method", "Best place", "Runs"])
    assert [row[0] for row in listed[1:]] == ["none", "random", "cdpruner", "fastv", "trim"]
    for name, best, runs in listed[1:]:
        own = Page((site / "methods" / f"{name}.html").read_text())
        tables = [table for table in own.tables if table[0][:3] == ["Budget", "Method", "Place"]]
        places = [row[2] for table in tables for row in table[1:] if row[2] != "–"]
        assert best.split(" at ")[0] == (min(places, key=lambda one: int(one.split()[0])) if places else "–")
        assert int(runs) == len(_accuracies(name)) == {"none": 4, "random": 77}.get(name, 15)
        assert (best == "–") == (name in ("none", "fastv"))


def test_each_method_has_its_sheet_place_and_commands(site):
    page = Page((site / "methods" / "cdpruner.html").read_text())
    assert "A determinantal point process (DPP) over" in page.text
    assert "published by others, not measured here" in page.text
    place = next(table for table in page.tables if table[0][:3] == ["Budget", "Method", "Place"])
    assert [row[0].split(",")[0] for row in place[1:]] == [
        "192 tokens",
        "128 tokens",
        "64 tokens",
        "32 tokens",
        "16 tokens",
    ]
    assert all(re.fullmatch(r"\d+ of \d+", row[2]) for row in place[1:])
    made = next(table for table in page.tables if table[0][:3] == ["Budget", "Seed", "Command"])
    assert [row[2].split()[:2] for row in made[1:]] == [["python", "runners/run.py"]] * 15
    accuracies = [f"{100 * value:.2f}" for value in _accuracies("cdpruner")]
    assert sorted(row[3] for row in made[1:]) == sorted(accuracies)


def _accuracies(pruner):
    files = (ROOT / "results").rglob(f"{pruner}-*/result.json")
    return [json.loads(file.read_text())["accuracy"]["value"] for file in files]


def test_a_command_makes_the_cell_that_was_recorded():
    """Composed and prepared as by the command line, the settings are those of the result."""
    runs = load_runs(ROOT / "results").frame
    for pruner, seed in (("random", 3), ("dart", 0), ("vtw", 0), ("query", 0)):
        run = runs[(runs["pruner"] == pruner) & (runs["seed"] == seed)].iloc[0]
        file = ROOT / "results" / run["place"].split("results/")[-1] / "result.json"
        program, script, *words = shlex.split(command(run))
        assert (program, script) == ("python", "runners/run.py")
        ((_, config),) = composed_cells(words)
        made = json.loads(json.dumps(vars(RunCell.prepare(RunSettings.from_config(config)).as_recorded)))
        assert made == json.loads(file.read_text())["cell"]
    run = runs[runs["pruner"] == "script"].iloc[0].copy()
    run["pruner_settings"], run["attention"] = '{"graph.threshold": 0.5, "padding": "it\'s [a]"}', "eager"
    run["provenance"] = '[{"placement": "auto"}]'
    words = shlex.split(command(run))
    assert {
        "attention=eager",
        "model.placement=auto",
        "pruner.graph.threshold=0.5",
        'pruner.padding="it\'s [a]"',
    } <= {*words}
    run["pruner"] = "mine"
    assert command(run) is None


def test_places_are_those_of_methods_that_keep_the_budget(tmp_path):
    """Against a straightforward count; above the budget, skipped samples and the unpruned model have none."""
    save_grid(tmp_path, budgets=(64, 32))
    more = save_run(tmp_path, "fastv", 64, draw(5, 0.95), tokens={"layer_average": 120.0})
    save_run(tmp_path, "pyramid", 64, draw(6, 0.95), skipped=1)
    assert json.loads((more / "result.json").read_text())["tokens"]["layer_average"] == 120
    cells = make_cells(load_runs(tmp_path).frame)
    (board,) = boards(cells, addresses(sorted(set(cells.runs["pruner"]))))
    found = {}
    for group in board.table.groups:
        for row in group.rows:
            found[row.entries[0].text, group.kind["budget"], group.kind["tokens"]] = row.entries[1].text
    accuracy = cells.frame.set_index(["label", "budget"])["accuracy"].round(1)
    for budget in (64, 32):
        ranked = ["random", "graph", "query", "script", "trim"]
        for label in ranked:
            better = sum(accuracy[other, budget] > accuracy[label, budget] for other in ranked)
            assert found[label, str(budget), WITHIN] == str(better + 1)
    assert found["fastv", "64", ABOVE] == ""
    assert found["pyramid", "64", WITHIN] == ""
    assert found["none", "unpruned", WITHIN] == ""
    assert len(board.points) == len(found) == 13
    assert [point["label"] for point in board.points] == [label for label, _, _ in found]
    assert places([88.04, 90.0, None, 88.01, 70.0]) == [2, 1, None, 2, 4]


def test_bad_inputs_are_said(tmp_path, capsys, monkeypatch):
    """Two protocols, partial and random-weight runs, broken ones, and names that hold HTML."""
    monkeypatch.setattr(
        "script_exp.report.site.cost_images", lambda _: []
    )  # slow; the report's tests have them
    outputs, folder = tmp_path / "runs", tmp_path / "site"
    save_grid(outputs, ("pope",), budgets=(64,))
    save_run(outputs, "script", 64, draw(7, 0.5), benchmark="pope", protocol_version=2)
    save_run(outputs, "script", 64, draw(8, 0.5), benchmark="pope", limit=40)
    save_run(
        outputs,
        HARMFUL.replace("/", "|"),
        64,
        draw(9, 0.5),
        benchmark="pope",
        device=HARMFUL,
        variant=HARMFUL,
    )
    save_run(outputs, "Script", 64, draw(9, 0.5), benchmark="pope")
    random = save_run(outputs, "trim", 32, [1.0], weights="random", benchmark="pope")
    broken = save_run(outputs, "trim", 16, [1.0], benchmark="pope")
    (broken / "result.json").write_text("{")
    assert main([str(outputs), "--to", str(folder)]) == 0
    said = capsys.readouterr()
    assert f"{random} is not on the leaderboard: its weights are random" in said.err
    assert f"{broken}" in said.err
    page = Page((folder / "index.html").read_text())
    headings = re.findall(r'<h3 id="board-\d+">(.*?)</h3>', page.text)
    assert len(headings) == 3
    assert sum("pope (code 1)" in one for one in headings) == 2
    assert sum("only the first 40 samples" in one for one in headings) == 1
    for sentence in (
        "Some runs use random weights",
        "Some runs cover only part of a benchmark",
        "Left out (2)",
    ):
        assert sentence in page.text
    pages = [*folder.rglob("*.html")]
    assert len({file.name.lower() for file in pages}) == len(pages) == 2 + 8
    for file in pages:
        assert "<script>document" not in file.read_text()
        assert "<img src=x" not in file.read_text()
    assert html.escape(HARMFUL) in page.text
    assert "its config.yaml has the settings" in (folder / "methods" / "script.html").read_text()
    shutil.rmtree(outputs / "tiny")
    save_run(outputs, "trim", 32, [1.0], weights="random")
    assert main([str(outputs), "--to", str(folder)]) == 2
    assert "no run with an accuracy, so there is nothing to compare" in capsys.readouterr().err
    save_run(outputs, "none", None, draw(1, 0.9))  # nothing to rank
    assert main([str(outputs), "--to", str(folder)]) == 0


def test_pictures_are_on_the_page_of_their_method(tmp_path, capsys, monkeypatch):
    """Or a sentence is; without any, the reason is an error."""
    monkeypatch.setattr("script_exp.report.site.cost_images", lambda _: [])
    save_grid(tmp_path, budgets=(64,))
    image = Image("data:image/webp;base64,AA", 10, 10, "<one>", "caption", "alternative")

    def kept(runs, most):
        assert most == 2
        (name,) = {*runs["pruner"]} - {"none"}
        if name != "trim":
            raise UserError(f"no samples of {name}")
        return [image], ["one <more>"]

    monkeypatch.setattr("script_exp.commands.site.kept_images", kept)
    assert main([str(tmp_path), "--to", str(tmp_path / "site"), "--pictures", "2"]) == 0
    methods = tmp_path / "site" / "methods"
    shown = (methods / "trim.html").read_text()
    assert '<img src="data:image/webp;base64,AA" alt="alternative" width="10" height="10">' in shown
    assert "<b>&lt;one&gt;.</b> caption" in shown
    assert "Not shown: one &lt;more&gt;." in shown
    assert "Not shown: no samples of graph." in (methods / "graph.html").read_text()
    assert "left out: pictures of graph: no samples of graph" in capsys.readouterr().err
    assert main([str(tmp_path), "--pictures", "2", "--pruner", "graph"]) == 2
    assert capsys.readouterr().err == "error: no samples of graph\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no finished runs in {0}; python runners/run.py makes one"),
        (["--to", "{0}/file"], "--to={0}/file: expected a folder"),
        (["--pictures", "-1"], "--pictures=-1: expected a whole number >= 0"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, words, message, capsys):
    (tmp_path / "file").touch()
    assert main([str(tmp_path), *(word.format(tmp_path) for word in words)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {message.format(tmp_path)}")
    assert said.count("\n") == 1
    assert not (tmp_path / "analysis").exists()


def test_published_numbers_are_apart(site):
    page = Page((site / "published.html").read_text())
    assert "Nothing on this page was measured here" in page.text
    assert all(row.reference for table in published_tables() for group in table.groups for row in group.rows)
    numbers = sum(
        entry.text != "" for table in published_tables() for group in table.groups for row in group.rows
        for entry in row.entries[1:]
    )  # fmt: skip
    assert numbers == len((ROOT / "script_exp/analysis/published.csv").read_text().splitlines()) - 4
    assert "EADP" not in (site / "index.html").read_text()


def test_sheets_without_the_docs_and_links_between_them(tmp_path):
    assert Sheets.read(tmp_path / "methods.md") == Sheets()
    (tmp_path / "methods.md").write_text(
        "# M\n\n| `pruner=` | Q | Source |\n|---|---|---|\n| [`a`](#a) | no | [A](https://a.org) |\n\n"
        "## a\n\nAs [`b`](#b), not [`c`](#c); [more](other.md). <script>x</script>\n\n"
        "| k | n |\n|--|--|\n| 1 | 2 |\n\n## More\n\n| `pruner=` | Q |\n|---|---|\n| `c` | yes |"
    )
    sheets = Sheets.read(tmp_path / "methods.md")
    page_of = {"a": "a.html", "b": "b.html"}.get
    sheet = sheets.sheet("a", page_of)
    assert '<a href="b.html"><code>b</code></a>, not <code>c</code>; more.' in sheet
    assert "&lt;script&gt;" in sheet
    assert '<table class="plain">' in sheet
    assert sheets.facts("a", page_of) == [("Q", "no"), ("Source", '<a href="https://a.org">A</a>')]
    assert sheets.facts("c", page_of) == [("Q", "yes")]
    assert sheets.sheet("b", page_of) is None
