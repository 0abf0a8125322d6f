"""Print the output of ``runners/data.py`` and ``runners/score.py``."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from script_exp.cell.shown import accuracy_text
from script_exp.errors import on_one_line
from script_exp.terminal.progress import print_table
from script_exp.upkeep.data_status import DataStatus, download
from script_exp.upkeep.rescore import Rescored

_EVALUATION = "https://github.com/haotian-liu/LLaVA/blob/main/docs/Evaluation.md"
_SOURCES = {None: "", "llava": "LLaVA's files", "hub": "hub parquet", "json": "hub JSON"}


def print_data(statuses: Sequence[DataStatus]) -> None:
    """Print a table of all benchmarks, and below it what is wrong and what to download."""
    table = _table(
        ["benchmark", "data", "source", "samples", "official", "loaded", "folder"], right=(3, 4, 5)
    )
    for status in statuses:
        bad = f", {len(status.bad)} bad" if status.bad else ""
        table.add_row(
            Text(on_one_line(status.name)),
            _state(status),
            _SOURCES[status.source],
            _count(status.samples),
            _count(status.official),
            f"{status.looked_at:,}{bad}" if status.looked_at else "",
            Text(on_one_line(str(status.folder))),
        )
    print_table(table, piped_width=100)
    for status in statuses:
        if not status.is_complete:
            print("\n" + "\n".join(map(on_one_line, _what_is_missing(status))))
    wanted = [line for status in statuses if not status.is_complete for line in download(status.benchmark)]
    if "eval.zip" in " ".join(wanted):
        print(f"\nLLaVA's eval.zip and the layout of its folder: {_EVALUATION}")


def print_rescored(rescored: Sequence[Rescored], *, dry_run: bool) -> None:
    """Print the runs with their accuracy before and after, and how many answers and scores differ."""
    table = _table(["run", "", "before", "after", "answers", "scores"], right=(2, 3, 4, 5))
    for one in rescored:
        row = [str(one.path), _outcome(one, dry_run), accuracy_text(one.before, digits=2)]
        if one.changed:
            row += [accuracy_text(one.after, digits=2), f"{one.answers:,}", f"{one.scores:,}"]
        table.add_row(*(Text(on_one_line(cell)) for cell in row))
    print_table(table)


def _table(headers: Sequence[str], right: Sequence[int]) -> Table:
    """Return an empty table; in a narrow terminal only ``run`` and ``folder``, which have paths, wrap."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for place, header in enumerate(headers):
        is_path = header in ("run", "folder")
        table.add_column(
            header,
            justify="right" if place in right else "left",
            overflow="fold",
            no_wrap=not is_path,
        )
    return table


def _state(status: DataStatus) -> str:
    if status.is_complete:
        return "complete"
    return "missing" if status.source is None else "incomplete"


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _what_is_missing(status: DataStatus) -> list[str]:
    benchmark = status.benchmark
    if status.source is None:
        lines = [
            f"{status.name}: not found in {status.folder}",
            f"  looked for  {benchmark.looked_for}",
        ]
    elif status.problem is not None:
        lines = [f"{status.name}: {status.problem}"]
    else:
        lines = [
            f"{status.name}: {len(status.bad)} of {status.looked_at:,} {benchmark.modality}s do not load"
        ]
        lines += [f"  sample {name}: {why}" for name, why in status.bad.items()]
    first, *rest = download(benchmark)
    return [*lines, f"  download    {first}", *(f"              {line}" for line in rest),
            f"  into        {status.folder}"]  # fmt: skip


def _outcome(one: Rescored, dry_run: bool) -> str:
    if not one.has_answers:
        return "random weights"
    if not one.changed:
        return "unchanged"
    return "would change" if dry_run else "rescored"
