"""The package's rooms: what is in its root, and that imports against their order are reported."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib

import pytest
from processes import ROOT

PACKAGE = ROOT / "script_exp"
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]


def test_the_root_holds_rooms_and_two_files():
    assert {file.name for file in PACKAGE.glob("*.py")} == {"__init__.py", "errors.py"}
    rooms = {place.parent.name for place in PACKAGE.glob("*/__init__.py")}
    layers = {room.strip() for layer in CONTRACTS[0]["layers"] for room in layer.split("|")}
    assert rooms | {"errors"} == layers


@pytest.mark.parametrize(("room", "most"), [("", 300), ("models/families", 150)])
def test_files_stay_small(room, most):
    lengths = {file: len(file.read_text().splitlines()) for file in (PACKAGE / room).rglob("*.py")}
    assert {file.name: count for file, count in lengths.items() if count > most} == {}


# Where the import is added, what it imports, and how the report calls it.
FORBIDDEN = [
    ("inspection/seen.py", "script_exp.report.page", "seen -> script_exp.report.page"),
    ("speed/bench.py", "script_exp.sweeps.job", "bench -> script_exp.sweeps.job"),  # beside it, not below
    ("pruners/arithmetic/dpp_triton.py", "script_exp.pruners.arithmetic.dpp", ".dpp_triton -> .dpp"),
    ("cell/run.py", "analysis.make", "script_exp.cell.run -> analysis"),
]


def test_forbidden_imports_are_reported(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "script_exp", ignore=shutil.ignore_patterns("weights", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for file, module, _ in FORBIDDEN:
        with (tmp_path / "script_exp" / file).open("a") as code:
            code.write(f"\n\ndef _late() -> None:\n    import {module}\n")
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert process.returncode == 1, process.stderr
    assert "0 kept, 3 broken" in process.stdout
    for _, _, reported in FORBIDDEN:
        assert reported in process.stdout, process.stdout
