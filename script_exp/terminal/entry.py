"""What the commands in runners/ and analysis/ have in common: how they start, parse, and end in a mistake."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from script_exp.errors import UserError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def start() -> None:
    """Begin a command's process: before the first line is printed, and before torch is imported."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is downloaded behind the user's back
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler of the memory pass would log its stages
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None:  # it was closed from the beginning
            setattr(sys, name, _outliving_its_reader(stream))


def new_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser whose help is a module's docstring as it stands."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """The folder of the runs, as the only positional argument."""
    parser.add_argument("outputs", nargs="?", type=Path, default=Path("outputs"), help="folder of the runs")


def run_command(work: Callable[[argparse.Namespace], int], given: argparse.Namespace) -> int:
    """Do ``work`` with the parsed arguments; its exit code, or 2 and one sentence for a mistake."""
    try:
        return work(given)
    except UserError as error:
        return fail(error)
    except OSError as error:
        if error.filename is None:
            raise
        return fail(f"cannot read or write {error.filename} ({error.strerror})")


def fail(why: UserError | str) -> int:
    """Say in one sentence what the user can mend; the exit code."""
    print(f"error: {why}", file=sys.stderr)
    return 2


class _Pipe(io.FileIO):
    """What is written after the reader has gone, as ``head`` does when it has seen enough, is dropped.

    The command goes on: it may have files to write, and its exit code says what it found.
    """

    def __init__(self, stream: io.TextIOWrapper) -> None:
        super().__init__(stream.fileno(), "wb", closefd=False)
        self._stream = stream  # once forgotten it would close the file

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), self.fileno())
            return memoryview(data).nbytes


def _outliving_its_reader(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    stream.flush()
    buffer = io.BufferedWriter(_Pipe(stream))
    return io.TextIOWrapper(
        buffer,
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering or stream.write_through,
    )
