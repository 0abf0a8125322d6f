"""Runs of the real entry point in processes of their own that start fast, to be killed at will."""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import sys
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["script_exp.run_cell", "script_exp.tiny.questions", "hydra", "transformers"])


@dataclass
class Started:
    """One process with the file that its output goes to."""

    process: ForkServerProcess
    output: Path

    def wait(self, timeout: float = 240) -> int:
        self.process.join(timeout)
        assert self.process.exitcode is not None, f"still running: {self.output.read_text()}"
        return self.process.exitcode

    def text(self) -> str:
        return self.output.read_text()

    def last_line(self) -> dict:
        assert self.wait() == 0, self.text()
        return json.loads(self.text().splitlines()[-1])


def start(output: Path, *arguments: object, setup: str = "", **environment: str) -> Started:
    """Start ``runners/run.py`` with ``arguments``, after the Python statements ``setup``."""
    given = ["run.py", *map(str, arguments)]
    process = _CONTEXT.Process(target=_run, args=(given, output, setup, environment))
    process.start()
    return Started(process, output)


def _run(arguments: list[str], output: Path, setup: str, environment: dict[str, str]) -> None:
    with output.open("wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    sys.stdout = os.fdopen(1, "w", buffering=1)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    os.environ.update(environment)
    os.chdir(ROOT)
    sys.argv = arguments
    exec(setup, {})
    runpy.run_path(str(ROOT / "runners" / "run.py"), run_name="__main__")
