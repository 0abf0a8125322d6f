"""What the commands share: how they start, parse arguments, and report errors."""

from __future__ import annotations

import argparse
import io
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from script_exp.errors import UserError, printable
from script_exp.terminal.called import as_called
from script_exp.terminal.signals import Terminated

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def start() -> None:
    """Set up a command's process; call it before anything is printed and before torch is imported."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no downloads unless the user asks for them
    logging.raiseExceptions = False  # a log that cannot be written, as on a full disk, prints nothing
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # else W&B's service says each time that it has died
    for name in ("torchao", "torch.utils._pytree"):  # torchao names each kernel that cannot run here
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the memory pass's profiler logs its stages
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None:  # None if the process started with it closed
            setattr(sys, name, _outliving_its_reader(stream))


def new_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help shows a module's docstring verbatim."""
    return argparse.ArgumentParser(
        description=as_called(description or ""), formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """Add the folder of the runs as the only positional argument."""
    parser.add_argument("outputs", nargs="?", type=Path, default=Path("outputs"), help="folder of the runs")


def run_command(work: Callable[[argparse.Namespace], int], given: argparse.Namespace) -> int:
    """Call ``work`` and return its exit code; for a user's mistake, print one sentence and return 2."""
    try:
        can_be_interrupted()
        return work(given)
    except UserError as error:
        return fail(error)
    except OSError as error:
        if error.filename is None:
            raise
        return fail(f"cannot read or write {error.filename} ({error.strerror})")
    except KeyboardInterrupt:
        return interrupted()


def fail(why: UserError | str) -> int:
    """Print one sentence about what the user can fix and return the exit code."""
    print(f"error: {printable(as_called(str(why)))}", file=sys.stderr)
    return 2


def can_be_interrupted() -> None:
    """Let Ctrl-C raise ``KeyboardInterrupt`` again, as before ``terminal.ctrl_c`` was imported."""
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def interruptible(remedy: str = "") -> Iterator[None]:
    """Let Ctrl-C raise ``KeyboardInterrupt``, and end the command with one line if it comes."""
    try:
        can_be_interrupted()
        yield
    except KeyboardInterrupt:
        sys.exit(interrupted(remedy))


def interrupted(remedy: str = "", by: Terminated | None = None) -> int:
    """Print one line about Ctrl-C, or the signal ``by``, and return the exit code, which is a shell's."""
    print(f"{f'ended by {by}' if by else 'interrupted'}{f'; {remedy}' if remedy else ''}", file=sys.stderr)
    return 130 if by is None else int(by.code or 1)


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
