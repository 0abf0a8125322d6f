"""The package as a wheel: installed without the repository, it has its configs, weights and commands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from processes import ROOT

from script_exp.commands.main import COMMANDS

FEW = ["benchmark.scenes=1", "limit=2", "latency=off", "unpruned=off"]
PARTS = (
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "conf",
    "script_exp",
    "hydra_plugins",
    "runners",
    "analysis",
)


@pytest.fixture
def place(tmp_path):
    """A user's own repository, with an environment in it that has the wheel."""
    folder = tmp_path
    source = folder / "source"
    source.mkdir()
    for name in PARTS:  # building leaves files beside the sources
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, symlinks=True)
        else:
            shutil.copy(ROOT / name, source)
    own = folder / "own"
    python = own / "env" / "bin" / "python"
    quietly(sys.executable, "-m", "venv", "--without-pip", own / "env", cwd=folder)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    quietly(*pip, "wheel", "--no-deps", "--no-build-isolation", source, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    quietly(*pip, "--python", python, "install", "--no-index", "--no-deps", wheel, cwd=folder)
    packages = quietly(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=own)
    # All other packages are this environment's own: installing torch again would take minutes.
    Path(packages.strip(), "others.pth").write_text(
        "\n".join({sysconfig.get_path("purelib"), *os.environ.get("PYTHONPATH", "").split(":")} - {str(ROOT)})
    )
    for words in (
        ["init", "-q"],
        ["-c", "user.name=A", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x"],
    ):
        quietly("git", *words, cwd=own)
    return own


def environment(**more):
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, **more}


def quietly(*words, cwd, **more):
    process = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, check=False, cwd=cwd, env=environment(**more)
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def script_exp(place, *words, **more):
    return subprocess.run(
        [place / "env" / "bin" / "script-exp", *map(str, words)],
        capture_output=True, text=True, check=False, cwd=place, env=environment(**more),
    )  # fmt: skip


@pytest.mark.slow
def test_the_wheel(place):
    check_its_files(place)
    check_from_the_first_run_to_the_report(place)
    check_help_and_completion(place)


def check_from_the_first_run_to_the_report(place):
    where = quietly(
        place / "env" / "bin" / "python", "-c", "import script_exp; print(script_exp.__file__)", cwd=place
    )
    assert where.startswith(str(place / "env"))
    nothing = script_exp(place, "tables")
    assert nothing.stderr == "error: no finished runs in outputs; script-exp run makes one\n"
    run = script_exp(place, "run", "pruner=script", "budget=64", *FEW)
    assert run.returncode == 0, run.stderr
    assert "tables and figures of all runs: script-exp make outputs\n" in run.stdout
    result = json.loads(
        (place / json.loads(run.stdout.splitlines()[-1])["run_dir"] / "result.json").read_text()
    )
    assert result["provenance"][-1]["git"] is None  # this repository is not of the package
    sweep = script_exp(place, "run", "-m", "pruner=none,script", "budget=64", *FEW)
    assert "2 cells, 1 of them finished already, 1 to run" in sweep.stderr, sweep.stderr
    assert sweep.returncode == 0
    status = script_exp(place, "status")
    assert (status.returncode, status.stdout) == (0, "outputs: 2 finished\n")
    tables = script_exp(place, "tables")
    assert tables.returncode == 0, tables.stderr
    assert "script" in tables.stdout
    page = script_exp(place, "report", "--figures", "off")
    assert page.returncode == 0, page.stderr
    assert (
        "<code>script-exp report --figures off</code>" in (place / "outputs/analysis/report.html").read_text()
    )


def check_its_files(place):
    packages = next((place / "env" / "lib").glob("*/site-packages/script_exp"))
    for folder, inside in (
        (ROOT / "conf", "conf"),
        (ROOT / "script_exp" / "tiny" / "weights", "tiny/weights"),
        (ROOT / "script_exp" / "report", "report"),
    ):
        there = [file for file in folder.rglob("*") if file.is_file() and file.suffix != ".pyc"]
        files = {file.relative_to(folder) for file in there}
        assert {file for file in files if not (packages / inside / file).is_file()} == set()
    assert not list(packages.parent.glob("runners")) + list(packages.parent.glob("analysis"))


def check_help_and_completion(place):
    shown = script_exp(place, "--help").stdout
    assert all(name in shown for name in COMMANDS)
    assert script_exp(place, "runs").returncode == 2
    for name in ("run", "bench", "make"):
        own = script_exp(place, name, "--help")
        assert own.returncode == 0, own.stderr
        assert f"script-exp {name}" in own.stdout
        assert ".py" not in own.stdout.replace("conf/", "")
    assert completed(place, "script-exp sta") == {"status"}
    assert {"--experiment", "--help"} <= completed(place, "script-exp status --")
    assert completed(place, "script-exp run pruner=script_r") == {"pruner=script_released"}
    assert {"pruner=", "benchmark="} <= completed(place, "script-exp run budget=64 ")
    assert completed(place, "script-exp bench bench.rep") == {"bench.repeats="}


def completed(place, line):
    """What bash offers at the end of a line."""
    program = f"""
PATH="{place}/env/bin:$PATH"
eval "$({place}/env/bin/python -m argcomplete.scripts.register_python_argcomplete script-exp)"
COMP_LINE={line!r} COMP_POINT={len(line)} COMP_TYPE=9
COMP_WORDBREAKS=$' \\t\\n'
_python_argcomplete script-exp
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    return {word.strip() for word in quietly("bash", "-c", program, cwd=place).splitlines() if word.strip()}
