"""Names and settings from users' files are shown as they are, wherever they are shown."""

from __future__ import annotations

import html
import io
import re

import pandas as pd
import pytest
from made_runs import draw, save_grid, save_run
from markdown_it import MarkdownIt
from processes import run
from rich.console import Console

from script_exp.analysis.accuracy import accuracy_tables
from script_exp.analysis.cells import make_cells
from script_exp.analysis.figures import figures
from script_exp.analysis.figures.style import save, style
from script_exp.analysis.render import html_table, latex, markdown, text
from script_exp.analysis.table import Entry, Group, Row, Table
from script_exp.cell.shown import print_config
from script_exp.results.read import load_runs
from script_exp.terminal import progress

ODD = [
    "[red]a[/red]", "[/]", ":smile:", "$x_1$ $", "50 % & #2", r"a\|b\\c|", "_a_ *b* `c` ~~d~~", "<b>&lt;</b>",
    "[a](b)", "[1, 2]", "*", "{x}^~", "up to 1 < 2",
]  # fmt: skip
CONTROL = "a\nb\x1b[31mc\x00\u202e"
CONTROL_SHOWN = r"a\nb\x1b[31mc\x00\u202e"


def table_of(texts):
    return Table(
        name="odd",
        title=f"title {texts[0]}",
        columns=["Method", f"column {texts[0]}"],
        groups=[Group(f"heading {one}", [Row([Entry(one), Entry("1.0", one, place=1)])]) for one in texts],
        data=pd.DataFrame(),
        notes=[f"note {one}" for one in texts],
    )


@pytest.mark.parametrize("one", ODD)
def test_markdown_reads_as_what_was_given(one):
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown(table_of([one])))
    shown = ["".join(_words(token)) for token in tokens if token.type == "inline"]
    assert shown == [
        f"title {one}", "Method", f"column {one}", f"heading {one}", "", one, f"1.0 {one}", f"note {one}",
    ]  # fmt: skip


def _words(token):
    return [child.content for child in token.children if child.type.startswith(("text", "code", "html"))]


def test_latex_has_no_command_of_a_name():
    written = latex(table_of(ODD))
    assert r"\$x\_1\$ \$ & \textbf{1.0} {\scriptsize \$x\_1\$ \$} \\" in written
    assert r"50 \% \& \#2 & " in written
    assert r"a\textbackslash{}|b\textbackslash{}\textbackslash{}c| & " in written
    # After the end of a row or a rule, a bracket or a star would be an argument.
    assert "\n{[}red]a[/red] & " in written
    assert "\n{*} & " in written
    assert r"\texttt{U+732B} and é" in latex(table_of(["\N{CJK UNIFIED IDEOGRAPH-732B} and é"]))


def test_html_and_the_terminal_show_what_was_given():
    page, shown = html_table(table_of(ODD)), text(table_of(ODD))
    for one in ODD:
        assert f">{html.escape(one)}</td>" in page
        assert f"│ {one} " in shown
        assert f"\nnote {one}" in shown
    assert shown.startswith(f"title {ODD[0]}")


@pytest.mark.parametrize("form", [markdown, latex, html_table, text], ids=lambda form: form.__name__)
def test_control_characters_are_escapes_everywhere(form):
    written = form(table_of([CONTROL]))
    assert not re.search("[\\x00-\\x09\\x0b-\\x1f\u202e]", written)
    assert written.count("\n") == form(table_of(["plain"])).count("\n")
    assert r"\x1b" in written.replace(r"\textbackslash{}", "\\").replace(r"\\x", r"\x")


def test_figures_draw_names_and_not_formulas(tmp_path):
    """One dollar sign too few or too many in a formula is an error of matplotlib."""
    save_grid(tmp_path / "runs")
    for pruner, variant in (("_mine", "p=$x_1$"), ("other", r"p=$\frac{1}$"), ("third", f"p={CONTROL}")):
        save_run(tmp_path / "runs", pruner, 64, draw(1, 0.5), variant=variant)
        save_run(tmp_path / "runs", pruner, 64, draw(2, 0.5))
    cells = make_cells(load_runs(tmp_path / "runs").frame)
    names = ["_mine (p=$x_1$)", r"other (p=$\frac{1}$)", f"third (p={CONTROL_SHOWN})"]
    with style():
        drawn = {name: figure for _, name, figure in figures(cells)}
        for name in ("accuracy_by_budget", "accuracy_by_flops", "accuracy_by_prefill_time"):
            (legend,) = drawn[name].legends
            shown = {words.get_text().strip("\N{HAIR SPACE}") for words in legend.get_texts()}
            assert {*names, "_mine"} <= shown
            for file in save(drawn[name], tmp_path, name):
                assert file.stat().st_size > 1000
    assert names[2] in {row.entries[0].text for table in accuracy_tables(cells) for group in table.groups
                        for row in group.rows}  # fmt: skip


@pytest.fixture
def stderr(monkeypatch):
    written = io.StringIO()
    monkeypatch.setattr(progress, "_stderr", Console(file=written, force_terminal=True, width=120))
    return written


@pytest.mark.parametrize("name", ["[red]a", "[/]", CONTROL])
def test_progress_shows_the_name(stderr, name):
    shown = CONTROL_SHOWN if name == CONTROL else name
    with progress.Progress(name, 2, [], "[/]") as bar:
        bar.advance([1.0])
    assert shown in re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "", stderr.getvalue())
    assert list(progress.counted([1, 2], 2, name)) == [1, 2]
    progress.note(name)
    assert shown.replace(r"\n", "\n" if name == CONTROL else r"\n") in stderr.getvalue()


def test_the_config_shows_values_as_they_are(capsys):
    print_config({"a": {"[b]": "[/]"}, "path": CONTROL})
    assert capsys.readouterr().out.splitlines() == [
        "config", "├── a", "│   └── [b]: [/]", f"└── path: {CONTROL_SHOWN}",
    ]  # fmt: skip


def test_a_folder_that_reads_as_markup(tmp_path):
    outputs = tmp_path / "[red]x[" / "y] :smile:"
    process = run(
        "pruner=random", "budget=8", "latency=off", "unpruned=off", "benchmark.scenes=1", "limit=1",
        f'outputs="{outputs}"',
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert f"outputs:{outputs}".replace(" ", "") in re.sub("[\\s│]", "", process.stdout)
    assert f"run directory: {outputs}/tiny/" in process.stdout
    status = run(outputs, script="runners/status.py")
    assert status.stdout.startswith(f"{outputs}: 1 finished")
