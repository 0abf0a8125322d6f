"""The project's commands in separate interpreters, as a user starts them, and the files that they leave."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from processes import ROOT, environment

_SAY_WHAT_IS_IMPORTED = """
import runpy, sys
file, *sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    open(file, "w").write(" ".join(sys.modules))
"""


def start(script, *arguments, env=None):
    """A command that is running, with the modules of tests to choose from."""
    return subprocess.Popen(
        [sys.executable, ROOT / script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(**(env or {})),
        preexec_fn=_listen,
    )


def _listen():
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # shells start background jobs with it ignored


def imports(script, *arguments):
    """A command that has ended, and the names of all modules that it imported."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "modules")
        process = subprocess.run(
            [sys.executable, "-c", _SAY_WHAT_IS_IMPORTED, file, ROOT / script, *map(str, arguments)],
            capture_output=True, text=True, check=False, cwd=ROOT,
        )  # fmt: skip
        return process, set(file.read_text().split())


def wait_until(true, process=None, seconds=600):
    """Wait for a condition that a process makes true; returns its value. A busy machine is given its time."""
    deadline = time.monotonic() + seconds
    while not (value := true()):
        if process is not None and process.poll() is not None:
            raise AssertionError(f"it ended with {process.returncode}: {process.communicate()[1]}")
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
    """``result.json`` less who worked on it and what depends on the settings of the test benchmark."""
    whole = json.loads((run_dir / "result.json").read_text())
    whole["cell"].pop("benchmark_settings")
    own = {"provenance", "identity", "unpruned_identity"}
    return {key: value for key, value in whole.items() if key not in own}


def answered(outputs, count):
    """The only run directory, once it has so many answers; else None."""
    for path in outputs.glob("tiny/*/*/samples.jsonl"):
        if path.read_bytes().count(b"\n") >= count:
            return path.parent
    return None
