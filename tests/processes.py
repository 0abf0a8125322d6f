"""The project's commands in processes of their own that start fast: forked from one that imported torch.

Where it matters how a process starts and ends (imports, signals, hooks at exit), ``commands.start`` is right.
"""

from __future__ import annotations

import atexit
import json
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["preloaded"])


def search_path() -> str:
    """A PYTHONPATH with the modules of tests to choose from."""
    return os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT), str(ROOT / "tests")]))


def environment(**more: str) -> dict[str, str]:
    """What a command starts with: this process's, without the W&B service that a test here has started."""
    own = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    return {**own, "PYTHONPATH": search_path(), **more}


@dataclass
class Started:
    """One process with the files that its stdout and stderr go to, which may be the same."""

    process: ForkServerProcess
    output: Path
    errors: Path

    def wait(self, timeout: float = 600) -> int:
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.process.kill()
            raise AssertionError(f"still running after {timeout} s: {self.output.read_text()}")
        return self.process.exitcode

    def text(self) -> str:
        return self.output.read_text()

    def last_line(self) -> dict:
        assert self.wait() == 0, self.errors.read_text()
        return json.loads(self.text().splitlines()[-1])


def start(
    output: Path,
    *arguments: object,
    script: str = "runners/run.py",
    errors: Path | None = None,
    setup: str = "",
    **more: str,
) -> Started:
    """Start ``script``, with the modules of tests importable, after the statements ``setup``."""
    errors = errors or output
    given = [str(ROOT / script), *map(str, arguments)]
    _start_server()
    process = _CONTEXT.Process(target=_run, args=(given, output, errors, setup, environment(**more)))
    process.start()
    return Started(process, output, errors)


def run(*arguments: object, script: str = "runners/run.py", **more: str) -> subprocess.CompletedProcess[str]:
    """A command that has ended: its exit code, stdout and stderr."""
    with tempfile.TemporaryDirectory() as folder:
        output, errors = Path(folder, "stdout"), Path(folder, "stderr")
        code = start(output, *arguments, script=script, errors=errors, **more).wait()
        return subprocess.CompletedProcess([script, *arguments], code, output.read_text(), errors.read_text())


def last_line(process: subprocess.CompletedProcess[str]) -> dict:
    """What a command that succeeded says at its end, for programs."""
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


@cache
def _start_server() -> None:
    """Start the process to fork from; it finds ``preloaded`` by PYTHONPATH alone."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = search_path()
    try:
        forkserver.ensure_running()
    finally:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before


def _run(arguments: list[str], output: Path, errors: Path, setup: str, environment: dict[str, str]) -> None:
    with ExitStack() as files:
        file = files.enter_context(output.open("wb"))
        same = errors == output
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno() if same else files.enter_context(errors.open("wb")).fileno(), 2)
    sys.stdout = os.fdopen(1, "w", buffering=1)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    os.chdir(ROOT)
    sys.argv = arguments
    atexit._clear()  # of the process that this one is forked from
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored if the tests run in the background
    exec(setup, {})
    try:
        runpy.run_path(arguments[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # which multiprocessing leaves out; W&B's service writes its log then
