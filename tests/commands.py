"""The project's commands as a user calls them, and what they leave behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

from processes import ROOT, run

_PATHS = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])


def start(script, *arguments, env=None):
    """A command that is running, with the modules of tests/ to choose from."""
    return subprocess.Popen(
        [sys.executable, ROOT / script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": _PATHS, **(env or {})},
        preexec_fn=_listen,
    )


def _listen():
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # shells start background jobs with it ignored


def call(script, *arguments, env=None):
    """A command that has ended, with the modules of tests/ to choose from: exit code, stdout and stderr."""
    return run(*arguments, script=script, **{"PYTHONPATH": _PATHS, **(env or {})})


def wait_until(true, seconds=120):
    """Wait for a condition; returns its value."""
    deadline = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)
    return value


def run_dirs(outputs):
    """Run directories by the readable part of their names."""
    return {path.name.rsplit("-", 1)[0]: path for path in outputs.glob("tiny/*/*/")}


def answers(run_dir):
    """``samples.jsonl`` as it is, less the seconds that each answer took."""
    lines = (run_dir / "samples.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]


def result(run_dir):
    """``result.json`` less what differs between machines and settings of the test benchmark."""
    whole = json.loads((run_dir / "result.json").read_text())
    whole["cell"].pop("benchmark_settings")
    return {key: whole[key] for key in ("cell", "accuracy", "tokens", "flops", "kv_cache_bytes")}


def answered(outputs, count):
    """The only run directory, once it has so many answers; else None."""
    for path in outputs.glob("tiny/*/*/samples.jsonl"):
        if path.read_bytes().count(b"\n") >= count:
            return path.parent
    return None
