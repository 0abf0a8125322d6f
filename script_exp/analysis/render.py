"""Render tables as Markdown, LaTeX, HTML, CSV and text."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from script_exp.analysis.table import Entry, Row, Table
from script_exp.errors import on_one_line
from script_exp.results.files import write_atomically

_HOLE = "–"

# What Markdown reads as code, emphasis, cells, strikethrough, tags, entities and links.
_MARKDOWN = re.compile(r"[\\`*|]|(?<![^\W_])_|_(?![^\W_])|~(?=~)|<(?=[A-Za-z/!?])|&(?=#?\w+;)|\](?=[(\[:])")
_TEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "%": r"\%", "&": r"\&", "_": r"\_", "#": r"\#", "$": r"\$", "±": r"$\pm$", "×": r"$\times$", "–": "--",
    "†": r"\textdagger{}", "<": "$<$", ">": "$>$", "−": "$-$", "✓": r"$\bullet$", "→": r"$\to$",
}  # fmt: skip

_STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 2em; color: #222; }
table { border-collapse: collapse; margin: 0 0 .5em; }
caption { text-align: left; font-weight: 600; padding: .3em 0; }
th, td { padding: .2em .7em; text-align: right; white-space: nowrap; }
th.text, td.text { text-align: left; }
thead th { border-top: 2px solid; border-bottom: 1px solid; }
tbody { border-bottom: 1px solid; }
tbody:last-child { border-bottom: 2px solid; }
tr.heading td { text-align: left; font-style: italic; }
tr.reference { color: #888; }
small { color: #666; }
p.note { margin: 0; color: #555; font-size: 12px; }
p.note:last-of-type { margin-bottom: 2.5em; }
"""
_LAST_LETTER = 0x17F  # of Latin Extended-A


def write_tables(tables: Sequence[Table], folder: Path) -> list[Path]:
    """Write the tables of one name to ``name.md``, ``.tex``, ``.html`` and ``.csv``.

    Returns:
        the paths of the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = tables[0].name
    frames = [table.data.assign(table=table.title) for table in tables if len(table.data)]
    contents = {
        "md": "\n".join(markdown(table) for table in tables),
        "tex": "% \\usepackage{booktabs,graphicx,xcolor}\n" + "\n".join(latex(table) for table in tables),
        "html": page(tables),
        "csv": pd.concat(frames).to_csv(index=False) if frames else "",
    }
    files = [folder / f"{stem}.{ending}" for ending in contents]
    for file, text in zip(files, contents.values(), strict=True):
        write_atomically(file, text)
    return files


def write_document(names: Sequence[str], folder: Path) -> Path:
    """Write a LaTeX document with all tables in ``folder``; ``pdflatex all.tex`` there makes a PDF."""
    lines = [
        r"\documentclass{article}",
        r"\usepackage[a4paper,margin=1.5cm]{geometry}",
        r"\usepackage{booktabs,graphicx,xcolor}",
        r"\extrafloats{200}",
        r"\begin{document}",
        *(rf"\input{{{name}.tex}}" + "\n" + r"\clearpage" for name in names),
        r"\end{document}",
    ]
    file = folder / "all.tex"
    write_atomically(file, "\n".join(lines) + "\n")
    return file


def markdown(table: Table) -> str:
    """Render a table for GitHub: the best bold, the second underlined, reference rows in italics."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    def cell(entry: Entry, reference: bool) -> str:
        plain = _marked_down(entry.text)
        text = {1: f"**{plain}**", 2: f"<ins>{plain}</ins>"}.get(entry.place, plain)
        both = f"{text} {_marked_down(entry.small)}".strip() or _HOLE
        return f"*{both}*" if reference and entry.text else both

    align = [":--"] * table.texts + ["--:"] * (len(table.columns) - table.texts)
    columns = list(map(_marked_down, table.columns))
    lines = [f"**{_marked_down(table.title)}**", "", line(columns), "|" + "|".join(align) + "|"]
    for group in table.groups:
        if group.heading:
            lines.append(line([f"*{_marked_down(group.heading)}*", *[""] * (len(table.columns) - 1)]))
        lines += [line([cell(entry, row.reference) for entry in row.entries]) for row in group.rows]
    return "\n".join([*lines, "", *(f"{_marked_down(note)}  " for note in table.notes)]).rstrip() + "\n"


def latex(table: Table) -> str:
    """Render a booktabs table for ``\\input``; it needs the packages booktabs, graphicx and xcolor."""

    def row_of(row: Row) -> str:
        cells = [_latex_entry(entry) for entry in row.entries]
        if row.reference:
            cells = [rf"\textcolor{{gray}}{{{cell}}}" for cell in cells]
        return " & ".join(cells) + r" \\"

    width = len(table.columns)
    spec = "l" * table.texts + "r" * (width - table.texts)
    lines = [
        r"\begin{table}[htbp]",
        r"\centering\small\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{_escape(table.title)}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",  # no wider than the page
        rf"\begin{{tabular}}{{{spec}}}",
        r"\toprule",
        " & ".join(_escape(column) for column in table.columns) + r" \\",
    ]
    for group in table.groups:
        lines.append(r"\midrule")
        if group.heading:
            lines.append(rf"\multicolumn{{{width}}}{{l}}{{\textit{{{_escape(group.heading)}}}}} \\")
        lines += [row_of(row) for row in group.rows]
    lines += [r"\bottomrule", r"\end{tabular}}"]
    if table.notes:
        notes = r" \\{} ".join(map(_escape, table.notes))
        lines.append(rf"\par\smallskip\parbox{{0.95\linewidth}}{{\footnotesize {notes}}}")
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def html_table(table: Table) -> str:
    """Render a ``<table>`` with its title, and its notes."""
    notes = [f'<p class="note">{_escaped(note)}</p>' for note in table.notes]
    return "\n".join([html_rows(table, f"<caption>{_escaped(table.title)}</caption>"), *notes]) + "\n"


def html_rows(table: Table, caption: str = "") -> str:
    """Render a ``<table>`` without notes.

    Args:
        table: the table.
        caption: an element to put first in it.
    """

    def kind(column: int) -> str:
        return ' class="text"' if column < table.texts else ""

    head = "".join(
        f'<th scope="col"{kind(index)}>{_escaped(column)}</th>' for index, column in enumerate(table.columns)
    )
    lines = [f"<table>{caption}", f"<thead><tr>{head}</tr></thead>"]
    for group in table.groups:
        kinds = "".join(f' data-{name}="{_escaped(value)}"' for name, value in group.kind.items())
        lines.append(f"<tbody{kinds}>")
        if group.heading:
            heading = _escaped(group.heading)
            lines.append(
                f'<tr class="heading"><td colspan="{len(table.columns)}"><span>{heading}</span></td></tr>'
            )
        for row in group.rows:
            cells = "".join(f"<td{kind(index)}>{_html(one)}</td>" for index, one in enumerate(row.entries))
            lines.append(f'<tr class="reference">{cells}</tr>' if row.reference else f"<tr>{cells}</tr>")
        lines.append("</tbody>")
    lines.append("</table>")
    return "\n".join(lines)


def page(tables: Sequence[Table]) -> str:
    """Render a standalone HTML page with these tables."""
    head = f'<meta charset="utf-8"><title>{_escaped(tables[0].name)}</title><style>{_STYLE}</style>'
    body = "\n".join(map(html_table, tables))
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{body}</body></html>\n'


def text(table: Table) -> str:
    """Render a table for a terminal."""
    shown = RichTable(title=_plain(table.title, "bold"), title_justify="left")
    for index, column in enumerate(table.columns):
        shown.add_column(_plain(column), justify="left" if index < table.texts else "right", no_wrap=True)
    for group in table.groups:
        if group.heading:
            shown.add_row(_plain(group.heading, "italic"))
        for row in group.rows:
            shown.add_row(*(_rich(entry, row.reference) for entry in row.entries))
        shown.add_section()
    console = Console(width=240)
    with console.capture() as captured:
        console.print(shown)
        for note in table.notes:
            console.print(_plain(note, "dim"))
    return captured.get()


FORMATS = {"text": text, "markdown": markdown, "latex": latex}
"""Formats of printed tables, by the names of ``--format``."""


def _latex_entry(entry: Entry) -> str:
    shown = _escape(entry.text)
    shown = {1: rf"\textbf{{{shown}}}", 2: rf"\underline{{{shown}}}"}.get(entry.place, shown)
    small = rf" {{\scriptsize {_escape(entry.small)}}}" if entry.small else ""
    return shown + small or "--"


def _html(entry: Entry) -> str:
    shown = _escaped(entry.text)
    shown = {1: f"<b>{shown}</b>", 2: f"<u>{shown}</u>"}.get(entry.place, shown)
    if entry.link:
        shown = f'<a href="{_escaped(entry.link)}">{shown}</a>'
    return shown + (f" <small>{_escaped(entry.small)}</small>" if entry.small else "") or _HOLE


def _escaped(text: str) -> str:
    return html.escape(on_one_line(text))


def _rich(entry: Entry, reference: bool) -> Text:
    style = "dim" if reference else {1: "bold", 2: "underline"}.get(entry.place, "")
    shown = _plain(entry.text or entry.small or _HOLE, style)
    return shown.append(_plain(f" {entry.small}", "dim")) if entry.text and entry.small else shown


def _plain(text: str, style: str = "") -> Text:
    """Return a text for the terminal in which nothing is markup."""
    return Text(on_one_line(text), style=style)


def _marked_down(text: str) -> str:
    return _MARKDOWN.sub(r"\\\g<0>", on_one_line(text))


def _escape(text: str) -> str:
    """Return a text for LaTeX; what pdflatex has no letter for is written as its number in Unicode."""
    shown = "".join(
        _TEX.get(one, one if ord(one) <= _LAST_LETTER else rf"\texttt{{U+{ord(one):04X}}}")
        for one in on_one_line(text)
    )
    # After the end of a row, a bracket or a star would be an argument.
    return f"{{{shown[0]}}}{shown[1:]}" if shown[:1] in ("[", "*") else shown
