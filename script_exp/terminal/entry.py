"""What the commands in runners/ and analysis/ share: how they start, parse arguments, and report errors."""

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
    """Set up a command's process; call it before anything is printed and before torch is imported."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no downloads unless the user asks for them
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the memory pass's profiler logs its stages
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None:  # None if the process started with it closed
            setattr(sys, name, _outliving_its_reader(stream))


def new_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help shows a module's docstring verbatim."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """Add the folder of the runs as the only positional argument."""
    parser.add_argument("outputs", nargs="?", type=Path, default=Path("outputs"), help="folder of the runs")


def run_command(work: Callable[[argparse.Namespace], int], given: argparse.Namespace) -> int:
    """Call ``work`` and return its exit code; for a user's mistake, print one sentence and return 2."""
    try:
        return work(given)
    except UserError as error:
        return fail(error)
    except OSError as error:
        if error.filename is None:
            raise
        return fail(f"cannot read or write {error.filename} ({error.strerror})")


def fail(why: UserError | str) -> int:
    """Print one sentence about what the user can fix and return the exit code."""
    print(f"error: {why}", file=sys.stderr)
    return 2


class _Pipe(io.FileIO):
    """A stream that drops what is written after its reader, such as ``head``, has exited.

    The command continues: it may have files to write, and its exit code still matters.
    """

    def __init__(self, stream: io.TextIOWrapper) -> None:
        super().__init__(stream.fileno(), "wb", closefd=False)
        self._stream = stream  # if garbage-collected, it would close the file

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
