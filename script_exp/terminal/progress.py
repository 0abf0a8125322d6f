"""What you see while a command works: progress bars, notes above them, and the width of tables."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import TypeVar

from rich import progress
from rich.console import Console
from rich.table import Table
from rich.text import Text

from script_exp.errors import on_one_line, printable
from script_exp.terminal.called import as_called

# Progress goes to stderr, so that stdout can be piped.
_stderr = Console(stderr=True)
_WIDEST = 10_000

_Thing = TypeVar("_Thing")


def print_table(table: Table, piped_width: int | None = None) -> None:
    """Print a table as wide as the terminal.

    Args:
        table: the table.
        piped_width: the width when piped; None: as wide as it is, so that names stay whole for ``grep``.
    """
    width = None
    if not (sys.stdout.isatty() or "COLUMNS" in os.environ):
        width = piped_width or Console(width=_WIDEST).measure(table).maximum
    Console(width=width).print(table)


def counted(things: Iterable[_Thing], total: int, name: str) -> Iterator[_Thing]:
    """Yield the things under a progress bar that disappears at the end."""
    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=_stderr, transient=True) as bar:
        yield from bar.track(things, total=total, description=on_one_line(name))


class Progress:
    """A progress bar over samples with the running mean of their scores.

    Args:
        name: the text before the bar.
        total: number of samples.
        scores: scores of the samples that are already answered.
        label: name of the mean; None if there is none yet, for example because a server scores.
    """

    def __init__(self, name: str, total: int, scores: Sequence[float], label: str | None) -> None:
        self._name, self._total = on_one_line(name), total
        self._sum, self._count = sum(scores), len(scores)
        self._label = label
        self._bar = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[accuracy]}", markup=False),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
            console=_stderr,
        )

    def __enter__(self) -> Progress:
        self._bar.start()
        self._task = self._bar.add_task(self._name, total=self._total, completed=self._count, accuracy="")
        return self

    def advance(self, scores: Sequence[float]) -> float:
        """Add a batch's scores and return the mean so far."""
        self._sum += sum(scores)
        self._count += len(scores)
        mean = self._sum / self._count
        text = "" if self._label is None else f"{self._label} {mean:.1%}"
        self._bar.update(self._task, completed=self._count, accuracy=text)
        return mean

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


def note(text: str) -> None:
    """Print a line above the progress bars."""
    _stderr.print(Text(printable(as_called(text))), soft_wrap=True)
