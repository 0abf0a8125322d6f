"""Every command finds and reads run directories of an earlier version."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from processes import ROOT, run, start

from script_exp.config import settings
from script_exp.config.renamed import _MOVED, _STILL_UNDERSTOOD, current_name
from script_exp.errors import SettingError
from script_exp.inspection.open_run import open_run

OLD = ROOT / "tests" / "old_runs"
SCRIPT = ["pruner=script", "budget=64", "benchmark.scenes=2"]
NEXT = [
    "pruner=random", "budget=64", "benchmark.scenes=2", "latency=off", "unpruned=off",
    "model=llava_next_7b", f"model.path={OLD / 'llava_next'}", "model.weights=random",
]  # fmt: skip
WHOLE = "script_exp.models.llava_next_whole.LlavaNextWholeAdapter"
PROTOCOL = 4
"""Of these runs. A newer one makes another run of the same settings on purpose."""
AS_THEN = f"from script_exp.config import settings; settings.PROTOCOL_VERSION = {PROTOCOL}"


@pytest.fixture
def outputs(tmp_path):
    return Path(shutil.copytree(OLD / "runs", tmp_path / "runs"))


def directory(outputs, name):
    (found,) = outputs.glob(f"*/shapes/{name}-*")
    return found


@pytest.mark.parametrize("name", ["none-s0", "script-64-s0", "random-64-s0"])
def test_the_same_settings_are_the_same_run(outputs, name, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(settings, "PROTOCOL_VERSION", PROTOCOL)
    run_dir = directory(outputs, name)
    assert run_dir.name == f"{name}-{open_run(run_dir).identity}"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("script-64-s0", SCRIPT),
        ("random-64-s0", [*NEXT, f"model.adapter={WHOLE}"]),
        ("random-64-s0", [*NEXT, f"model.adapter={_STILL_UNDERSTOOD[WHOLE]}"]),
    ],
)
def test_the_same_command_finds_it(outputs, name, words, tmp_path):
    before = {file: file.read_bytes() for file in outputs.rglob("*.json*")}
    started = start(tmp_path / "printed", *words, f"outputs={outputs}", setup=AS_THEN)
    assert started.last_line()["run_dir"] == str(directory(outputs, name))
    assert "already finished" in started.text()
    assert {file: file.read_bytes() for file in outputs.rglob("*.json*")} == before


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("runners/status.py", []),
        ("runners/score.py", []),
        ("analysis/make.py", ["--figures", "off"]),
        ("analysis/tables.py", []),
        ("analysis/report.py", ["--figures", "off", "--pictures", "1"]),
        ("analysis/kept.py", ["--most", "1"]),
    ],
)
def test_every_command_reads_it(outputs, script, words, tmp_path):
    started = start(tmp_path / "printed", outputs, *words, script=script, setup=AS_THEN)
    assert started.wait() == 0, started.text()
    assert "Traceback" not in started.text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["pruner._target_=script_exp.pruners.query.QueryConditioned"],
            "pruner._target_=script_exp.pruners.query.QueryConditioned: expected "
            "script_exp.pruners.before_llm.query.QueryConditioned, its new name",
        ),
        (
            ["pruner.query._target_=script_exp.pruners.query.QueryDPP"],
            "pruner.query._target_=script_exp.pruners.query.QueryDPP: expected "
            "script_exp.pruners.before_llm.query.QueryDPP, its new name",
        ),
        (
            ["model.adapter=script_exp.models.llava.LlavaAdapter"],
            "model.adapter=script_exp.models.llava.LlavaAdapter: expected "
            "script_exp.models.families.llava.LlavaAdapter, its new name",
        ),
    ],
)
def test_a_name_of_before_tells_its_new_place(tmp_path, words, message):
    process = run("benchmark.scenes=2", f"outputs={tmp_path}", *words)
    assert (process.returncode, process.stderr) == (2, f"error: {message}\n")


@pytest.mark.parametrize("name", [*_STILL_UNDERSTOOD, *(f"{module}.Any" for module in _MOVED)])
def test_no_name_of_before_is_left_and_every_new_one_is_there(name):
    """No module of the package stands where it was, and none is said to be where it is not."""
    place = Path(ROOT, *name.split(".")[:-1])
    assert not place.with_suffix(".py").exists()
    assert not (place / "__init__.py").exists()
    try:
        new = current_name("key", name)
    except SettingError as error:
        new = error.expected.split(",")[0]
    assert Path(ROOT, *new.split(".")[:-1]).with_suffix(".py").exists()
