"""The page as written: its contents, that it loads nothing, and that no name in it does harm."""

from __future__ import annotations

import html
import json
import re
from html.parser import HTMLParser

import pytest
from commands import imports
from made_runs import draw, save_grid, save_run
from processes import run

from script_exp.analysis.accuracy import accuracy_tables, budget_tables
from script_exp.analysis.cells import make_cells
from script_exp.analysis.efficiency import efficiency_tables
from script_exp.analysis.significance import PairedTests, pair_tables, unpruned_tables
from script_exp.report import Report, report_page
from script_exp.report.images import figure_images
from script_exp.report.provenance import provenance_tables
from script_exp.results.read import load_runs


class Page(HTMLParser):
    """Elements of a page, and the entries of its tables."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.tables, self.ids = [], [], []
        self._inside = None
        self.feed(text)
        self.text = text

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._inside = tag

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._inside = None

    def handle_data(self, data):
        if self._inside:
            self.tables[-1][-1][-1] += data

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def report(outputs, *options):
    return run(outputs, *options, script="analysis/report.py")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    save_grid(folder, ("gqa", "pope"))
    return folder


@pytest.fixture(scope="module")
def written(outputs):
    process = report(outputs)
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    return process, Page((outputs / "analysis" / "report.html").read_text())


def test_every_entry_of_every_table_is_on_the_page(outputs, written):
    _, page = written
    cells = make_cells(load_runs(outputs).frame)
    tests = PairedTests(cells)
    tables = [
        *accuracy_tables(cells),
        *budget_tables(cells),
        *efficiency_tables(cells),
        *unpruned_tables(cells, tests),
        *pair_tables(cells, tests, "script"),
    ]
    assert len(tables) == 7
    for table in tables:
        expected = [
            [" ".join(filter(None, [entry.text, entry.small])) or "–" for entry in row.entries]
            for group in table.groups
            for row in group.rows
        ]
        own = next(shown for shown in page.tables if shown[0] == table.columns and expected[0] in shown)
        assert [row for row in own[1:] if len(row) > 1] == expected
        assert html.escape(table.title) in page.text


def test_the_command_says_where_the_page_is_and_how_large(outputs, written):
    process, page = written
    assert re.fullmatch(
        rf"9 tables, \d+ figures, 0 pictures: {outputs}/analysis/report.html \(\d\.\d MB\)\n", process.stdout
    )
    assert f"<code>python analysis/report.py {outputs}</code>" in page.text


def test_nothing_is_loaded_from_anywhere(written):
    _, page = written
    assert page.of("img")
    for tag, attributes in page.elements:
        for name in ("src", "srcset", "poster", "data", "action", "background"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, attributes)
        assert attributes.get("href", "#").startswith("#")
    assert not {"link", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.elements}
    style = re.search(r"<style>(.*?)</style>", page.text, re.S)[1]
    assert "@import" not in style
    assert "url(" not in style
    assert "http://" not in page.text
    assert "https://" not in page.text
    policy = next(one["content"] for one in page.of("meta") if "http-equiv" in one)
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_links_lead_to_a_place_on_the_page_and_names_are_unique(written):
    _, page = written
    assert len(set(page.ids)) == len(page.ids)
    assert {link["href"][1:] for link in page.of("a")} <= set(page.ids)
    assert {one["aria-labelledby"] for one in page.of("div") if "aria-labelledby" in one} <= set(page.ids)


def test_every_image_is_said_in_words(outputs, written):
    _, page = written
    alts = [image["alt"] for image in page.of("img")]
    assert (
        "Accuracy against visual tokens kept. Panels: gqa, pope. "
        "Shown: unpruned, random, trim, graph, query, script." in alts
    )
    images, missing = figure_images(make_cells(load_runs(outputs).frame))
    assert len(images) == len(alts)
    assert missing
    assert all(html.escape(reason) in page.text for reason in missing)


def test_what_runs_are_called_is_text(tmp_path):
    bad = "<script>alert(1)</script>"
    save_run(tmp_path, "none", None, draw(1, 0.9), benchmark="gqa", device=bad, checkpoint=bad)
    save_run(
        tmp_path, "script", 64, draw(2, 0.7), benchmark="gqa", variant=f"x={bad}", device=bad, checkpoint=bad
    )
    cells = make_cells(load_runs(tmp_path).frame)
    images, _ = figure_images(cells)
    text = report_page(
        Report(
            cells, [*accuracy_tables(cells), *efficiency_tables(cells)], place=bad, command=bad,
            figures=images, no_figures=[bad], no_pictures=[bad], problems=[bad],
        )
    )  # fmt: skip
    page = Page(text)
    assert len(page.of("script")) == 1
    assert "<script>alert" not in text
    assert f"script (x={bad})" in {row[0] for table in page.tables for row in table}
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 10


def test_provenance_of_every_process_of_every_run(tmp_path):
    save_run(tmp_path, "none", None, draw(1, 0.9))
    folder = save_run(tmp_path, "script", 64, draw(2, 0.7))
    file = folder / "result.json"
    result = json.loads(file.read_text())
    first = result["provenance"][0]
    later = first | {
        "git": {"commit": "a" * 40, "dirty": True}, "python": "3.12.1", "packages": {"torch": "2.13.0"},
        "host": "node7", "compile": "default", "placement": "auto", "threads": 2,
        "time": "2026-11-24T10:20:30+00:00",
    }  # fmt: skip
    file.write_text(json.dumps(result | {"provenance": [first, later, later], "rescored": [{}, {}]}))
    frame = load_runs(tmp_path).frame
    environments, runs = provenance_tables(make_cells(frame).runs, str(tmp_path))
    shown = [[entry.text for entry in row.entries] for row in environments.groups[0].rows]
    assert [row[:2] for row in shown] == [["1", "c0ffee"], ["2", f"{'a' * 12} +"]]
    assert shown[1][2:] == [
        "3.12.1", "CPU X", "", "2", "float32", "sdpa", "default", "auto", "", "pretrained", "embedded",
        "node7", "",
        "torch 2.13.0", "1",
    ]  # fmt: skip
    assert shown[0][-1] == "2"
    (group,) = runs.groups
    assert group.heading == "tiny on shapes"
    before, after = ([entry.text for entry in row.entries] for row in group.rows)
    accuracy = f"{100 * frame[frame['pruner'] == 'script']['accuracy'].item():.2f}"
    place = str(folder.relative_to(tmp_path))
    assert after == [
        "script", "64", "0", result["identity"], "1, 2", "2026-11-24 10:20", place, "40", accuracy, "2",
    ]  # fmt: skip
    assert before[4] == "1"


def test_warnings_are_those_that_apply(outputs, tmp_path):
    _, page = written_page(outputs, tmp_path / "tiny.html")
    assert "The embedded model is tiny" in page
    assert "random weights" not in page
    assert "part of a benchmark" not in page
    save_grid(tmp_path / "other", ("gqa",), checkpoint="/m", model="llava_1_5_7b", limit=40)
    _, page = written_page(tmp_path / "other", tmp_path / "other.html")
    assert "The embedded model is tiny" not in page
    assert "part of a benchmark" in page


def written_page(outputs, to):
    process = report(outputs, "--to", to, "--figures", "off")
    assert process.returncode == 0, process.stderr
    return process, to.read_text()


@pytest.mark.parametrize(("options", "code"), [([], 0), (["--strict"], 1)])
def test_what_is_left_out_is_said(tmp_path, options, code):
    save_grid(tmp_path, ("gqa",), budgets=(64,))
    damaged = save_run(tmp_path, "fastv", 64, [1.0] * 40, benchmark="gqa")
    (damaged / "result.json").write_text("{")
    process = report(tmp_path, "--figures", "off", *options)
    assert process.returncode == code
    (line,) = process.stderr.splitlines()
    page = (tmp_path / "analysis" / "report.html").read_text()
    assert f"<li>{html.escape(line.removeprefix('left out: '))}</li>" in page
    assert str(damaged) in line
    assert "Left out (1)" in page


def test_filters(outputs, tmp_path):
    process = report(outputs, "--to", tmp_path / "a.html", "--benchmark", "gqa", "--figures", "off")
    assert process.returncode == 0, process.stderr
    page = (tmp_path / "a.html").read_text()
    assert "gqa" in page
    assert not re.search(r"\bpope\b", page)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--pruner", "scirpt"], "--pruner=scirpt: expected one with a finished run: graph, none"),
        (["--pictures", "-1"], "--pictures=-1: expected a whole number >= 0"),
        (["--pictures", "1", "--wandb", "a/b"], "--pictures: expected without --wandb"),
        (["--pictures", "1"], "expected runs of one model on one benchmark, not column gqa; column pope"),
        (["--to", "."], "--to=.: expected a file, for example report.html"),
        (["--to", "/dev/null/report.html"], "cannot read or write /dev/null (File exists)"),
    ],
)
def test_mistakes_are_one_sentence(outputs, options, error):
    process = report(outputs, "--figures", "off", *options)
    assert process.returncode == 2
    assert process.stderr.startswith(f"error: {error}")
    assert len(process.stderr.splitlines()) == 1


def test_no_runs(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        process = report(place)
        assert process.returncode == 2
        assert process.stderr == f"error: no finished runs in {place}; python runners/run.py makes one\n"
        assert not (place / "analysis").exists()


def test_torch_is_imported_for_pictures_alone(outputs, tmp_path):
    process, modules = imports("analysis/report.py", outputs, "--to", tmp_path / "report.html")
    assert process.returncode == 0, process.stderr
    assert "torch" not in modules
