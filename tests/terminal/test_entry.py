"""How every command starts and ends: offline, without a traceback, and even if its reader is gone."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys

import pytest
from made_runs import draw, save_run
from processes import ROOT

from script_exp.commands.main import COMMANDS as NAMES
from script_exp.terminal.called import as_called

ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"} | {
    "PYTHONUNBUFFERED": "1"  # the first line is written at once
}


def call(*words, **streams):
    return subprocess.run(
        [sys.executable, *map(str, words)],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
        text=True, check=False, cwd=ROOT, env=ENVIRONMENT,
    )  # fmt: skip


@pytest.fixture
def closed():
    """A pipe that nobody reads from any more."""
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    save_run(folder, "none", None, draw(0, 0.9))
    save_run(folder, "script", 64, draw(0, 0.7))
    return folder


@pytest.mark.parametrize(
    ("script", "words", "code"),
    [
        ("analysis/make.py", ["{outputs}", "--to", "{to}"], 0),
        ("analysis/tables.py", ["{outputs}"], 0),
        ("runners/status.py", ["{outputs}"], 0),
        ("runners/status.py", ["{to}"], 1),  # nothing is there
        ("runners/data.py", ["status", "gqa", "data={to}"], 1),
        ("runners/score.py", ["--help"], 0),
        ("runners/run.py", ["--cfg", "job"], 0),
        ("runners/bench.py", ["--help"], 0),
    ],
)
def test_a_reader_that_has_seen_enough(script, words, code, outputs, closed, tmp_path):
    """The command goes on without it: it writes its files, and its exit code is what it would have been."""
    given = [word.format(outputs=outputs, to=tmp_path) for word in words]
    process = call(ROOT / script, *given, stdout=closed)
    assert process.returncode == code
    assert not {"Error", "Traceback"} & {*re.findall(r"\w+", process.stderr)}
    if script == "analysis/make.py":
        assert list((tmp_path / "figures").glob("*.pdf"))


def test_a_reader_of_both_streams(tmp_path, closed):
    process = call(ROOT / "runners" / "status.py", tmp_path / "nowhere", stdout=closed, stderr=closed)
    assert process.returncode == 2


def test_streams_that_were_never_open(outputs):
    command = f"{sys.executable} {ROOT / 'runners' / 'status.py'} {outputs} >&- 2>&-"
    assert subprocess.run(["bash", "-c", command], check=False, cwd=ROOT).returncode == 0


@pytest.mark.parametrize("script", ["runners/run.py", "runners/status.py", "runners/tiny_report.py"])
def test_the_hub_is_off_before_its_library_is_imported(script):
    program = (
        "import os, runpy, sys\n"
        f"sys.argv = [{str(ROOT / script)!r}, '--help']\n"
        "try:\n"
        "    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally:\n"
        "    assert os.environ['HF_HUB_OFFLINE'] == '1'\n"
        "    assert 'huggingface_hub' not in sys.modules\n"
    )
    process = call("-c", program)
    assert process.returncode == 0, process.stderr


COMMANDS = sorted(file for folder in ("runners", "analysis") for file in (ROOT / folder).glob("[a-z]*.py"))


@pytest.mark.parametrize("script", COMMANDS, ids=lambda file: file.name)
def test_every_command_imports_first_what_ends_it_on_ctrl_c(script):
    imports = [
        node for node in ast.parse(script.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert ast.unparse(imports[1]) == "import script_exp.terminal.ctrl_c"


@pytest.mark.parametrize("script", ["runners/run.py", "runners/status.py", "analysis/make.py"])
def test_ctrl_c_while_modules_are_imported(script):
    """What Python itself prints then is a traceback."""
    program = (
        "import os, runpy, signal, sys\n"
        "class Interrupts:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'script_exp.errors':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupts())\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"sys.argv = [{str(ROOT / script)!r}]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    process = call("-c", program)
    assert process.returncode == 128 + signal.SIGINT
    assert process.stderr == "interrupted\n"


def test_messages_name_commands_as_they_are_called(monkeypatch):
    message = "python runners/run.py -m makes one; /my/analysis/make.py, runners/score.py and my/runners/a.py"
    assert as_called(message) == message
    monkeypatch.setattr(sys, "argv", ["script-exp status", "outputs"])
    named = "script-exp run -m makes one; /my/analysis/make.py, script-exp score and my/runners/a.py"
    assert as_called(message) == named


def test_every_file_starts_the_command_of_its_name():
    for script in COMMANDS:
        assert f"from script_exp.commands.{script.stem} import main" in script.read_text()
    assert {script.stem for script in COMMANDS} == {*NAMES}


def test_ctrl_c_while_a_command_works(outputs):
    program = (
        "import argparse, sys\n"
        "from script_exp.terminal.entry import run_command\n"
        "def work(given):\n"
        "    raise KeyboardInterrupt\n"
        "sys.exit(run_command(work, argparse.Namespace()))\n"
    )
    process = call("-c", program)
    assert (process.returncode, process.stderr) == (130, "interrupted\n")
