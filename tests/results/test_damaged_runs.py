"""Damaged files of a run are named or repaired by every command, and the run beside is read all the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from processes import last_line, run

from analysis.tables import main as tables
from runners.score import main as score
from runners.status import main as status
from script_exp.cell.prepared import RunCell
from script_exp.cell.run import run_cell
from script_exp.config.command_line import CONF
from script_exp.config.settings import RunSettings
from script_exp.errors import UserError
from script_exp.inspection.open_run import open_run
from script_exp.results.read import load_runs, load_samples

FEW = [
    "benchmark.scenes=1", "limit=8", "latency=off", "unpruned=off", "pruner=random", "budget=8",
    "batch_size=4", "device=cpu",
]  # fmt: skip
FILES = (
    "config.yaml", "identity.json", "provenance.json", "status.json", "samples.jsonl", "skipped.jsonl",
    "result.json",
)  # fmt: skip


def empty(file):
    file.write_bytes(b"")


def cut_off(file):
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])


def another_type(file):
    file.write_text("[1, [2]]\n")


def a_number(file):
    file.write_text("7\n")


def nothing_known(file):
    file.write_text("{}\n")


def no_text(file):
    file.write_bytes(b"\xff\xfe\n" + file.read_bytes())


def nested(file):
    file.write_text("[" * 100_000)


def no_number(file):
    file.write_text(file.read_text().replace('"seed": 0', '"seed": NaN').replace('": 1', '": NaN1'))


def too_large(file):
    file.write_text(file.read_text().replace('": 1', '": 1e999').replace('": 0', '": 9' + "9" * 5000))


def folder(file):
    file.unlink()
    file.mkdir()


def pipe(file):
    file.unlink()
    os.mkfifo(file)


DAMAGES = [
    empty, cut_off, another_type, a_number, nothing_known, no_text, nested, no_number, too_large, folder,
    pipe, Path.unlink,
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Two finished runs, and the one that is to be damaged."""
    outputs = tmp_path_factory.mktemp("whole")
    for seed in (0, 1):
        line = last_line(run(*FEW, f"seed={seed}", f"outputs={outputs}"))
    return outputs, Path(line["run_dir"]).relative_to(outputs)


@pytest.fixture
def copied(whole, tmp_path):
    outputs, place = whole

    def copy(name="outputs"):
        shutil.rmtree(tmp_path / name, ignore_errors=True)
        return Path(shutil.copytree(outputs, tmp_path / name)) / place

    return copy


@cache
def composed():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [*FEW, "seed=1"])


def cell_of(run_dir):
    config = composed().copy()
    config.outputs = str(run_dir.parents[2])
    return RunCell.prepare(RunSettings.from_config(config))


def edit(file, change):
    value = json.loads(file.read_text())
    change(value)
    file.write_text(json.dumps(value))


def refusal(call, *arguments):
    """The sentence that a call is refused with; None if it is not."""
    try:
        call(*arguments)
    except UserError as error:
        return str(error)
    return None


def check_named_or_repaired(run_dir, name, before):
    """The run is refused in one sentence with the file, or has the result that it had before."""
    refused = refusal(run_cell, cell_of(run_dir))
    if refused is None:
        after = json.loads((run_dir / "result.json").read_text())
        assert {**after, "provenance": 0} == {**before, "provenance": 0}, name
    else:
        assert name in refused
        assert len(refused.splitlines()) == 1


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_file_of_a_finished_run(copied, damage, monkeypatch, capfd):
    before = json.loads((copied() / "result.json").read_text())
    for name in FILES:
        run_dir = copied()
        outputs = run_dir.parents[2]
        (run_dir / "skipped.jsonl").write_text('{"id": "x", "why": "y"}\n')
        damage(run_dir / name)
        if name != "skipped.jsonl" and (run_dir / "skipped.jsonl").is_file():
            (run_dir / "skipped.jsonl").unlink()
        capfd.readouterr()
        assert status([str(outputs)]) in (0, 1), name
        assert score([str(outputs), "--dry-run"]) in (0, 1), name
        if name in ("samples.jsonl", "result.json"):
            monkeypatch.setattr(sys, "argv", ["tables.py", str(outputs)])
            assert tables() == 0, name  # of the other run
        said = capfd.readouterr()
        assert "Traceback" not in said.err
        runs = load_runs(outputs)
        assert len(runs.frame) >= 1
        if len(runs.frame) == 1 and (run_dir / "status.json").is_file():
            assert any(str(run_dir) in problem for problem in runs.problems), (name, runs.problems)
        refused = refusal(open_run, run_dir)
        assert refused is None or str(run_dir) in refused
        check_named_or_repaired(run_dir, name, before)


@pytest.mark.parametrize(
    "damage",
    [cut_off, another_type, too_large, folder, pipe, Path.unlink],
    ids=lambda damage: damage.__name__,
)
def test_a_damaged_file_of_a_half_done_run(copied, damage):
    """It is the same result in the end, unless the file is named."""
    before = json.loads((copied() / "result.json").read_text())
    for name in ("config.yaml", "identity.json", "provenance.json", "status.json", "samples.jsonl"):
        run_dir = copied()
        (run_dir / "result.json").unlink()
        lines = (run_dir / "samples.jsonl").read_text().splitlines(keepends=True)
        (run_dir / "samples.jsonl").write_text("".join(lines[:4]))
        damage(run_dir / name)
        check_named_or_repaired(run_dir, name, before)


RESULTS = [
    (lambda result: result.update(identity="0000000000"), "identity.json does not belong to result.json"),
    (lambda result: result["cell"].update(seed=0), "seed=0, but 1 in identity.json"),
    (
        lambda result: result["cell"].update(budget="8"),
        "budget='8': expected a whole number or a number or null",
    ),
    (lambda result: result["cell"].update(seed=2**64), "seed=18446744073709551616: expected a whole number"),
    (lambda result: result["cell"].update(model="../x"), "model=../x, but tiny in identity.json"),
    (lambda result: result["accuracy"].update(value="0.5"), "accuracy: value='0.5': expected a number"),
    (lambda result: result["accuracy"].update(n=True), "accuracy: n=True: expected a whole number"),
    (lambda result: result["flops"].update(prefill_total=None), "prefill_total=None: expected a number"),
    (lambda result: result.update(latency={"ttft_ms": 1}), "llm_prefill_speedup=None: expected a number"),
    (lambda result: result.update(provenance=[]), "provenance"),
    (lambda result: result.update(status="running"), "status=running: expected finished"),
]


@pytest.mark.parametrize(("change", "message"), RESULTS, ids=lambda one: one if isinstance(one, str) else "")
def test_a_result_that_is_not_its_own(copied, change, message):
    run_dir = copied()
    edit(run_dir / "result.json", change)
    runs = load_runs(run_dir.parents[2])
    assert len(runs.frame) == 1
    (problem,) = runs.problems
    assert message in problem
    with pytest.raises(UserError) as error:
        run_cell(cell_of(run_dir))
    assert message in str(error.value)


def flip(run_dir, name, number=0):
    """Another value in one line of the samples."""
    file = run_dir / "samples.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    value = lines[number][name]
    lines[number][name] = 1 - value if name == "score" else value + 1 if isinstance(value, int) else "z"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize("name", ["score", "answer", "question", "kept", "unit", "kind"])
def test_a_flipped_value_of_a_finished_run_is_named(copied, name):
    run_dir = copied()
    flip(run_dir, name)
    with pytest.raises(UserError, match=r"samples\.jsonl: sample|result\.json does not agree"):
        run_cell(cell_of(run_dir))


def test_a_flipped_accuracy_is_named(copied):
    run_dir = copied()
    edit(run_dir / "result.json", lambda result: result["accuracy"].update(value=0.987))
    with pytest.raises(UserError, match=r"result\.json does not agree .*accuracy\.value=0\.987, but 0\."):
        run_cell(cell_of(run_dir))


def test_what_was_flipped_in_a_half_done_run_is_asked_again(copied, capfd):
    before = json.loads((copied() / "result.json").read_text())
    for name in ("score", "answer", "question", "prompt_hash"):
        run_dir = copied()
        (run_dir / "result.json").unlink()
        flip(run_dir, name, number=2)
        after = run_cell(cell_of(run_dir))
        assert {**after, "provenance": 0} == {**before, "provenance": 0}, name
        assert "samples.jsonl: 1 answers are asked again: sample" in capfd.readouterr().err


def test_a_half_done_run_of_other_settings(copied):
    run_dir = copied()
    (run_dir / "result.json").unlink()
    edit(run_dir / "identity.json", lambda identity: identity.update(seed=5))
    with pytest.raises(UserError, match=r"identity\.json belongs to another run, "):
        run_cell(cell_of(run_dir))


def test_a_damaged_unpruned_run_does_not_end_the_others(copied):
    run_dir = copied()
    few = [word for word in FEW if not word.startswith("unpruned")]
    unpruned = Path(last_line(run(*few, "pruner=none", f"outputs={run_dir.parents[2]}"))["run_dir"])
    (unpruned / "result.json").write_text("{")
    process = run(*few, "seed=1", f"outputs={run_dir.parents[2]}")
    assert last_line(process)["run_dir"] == str(run_dir)
    assert f"continuing without the unpruned run: {unpruned / 'result.json'} is damaged" in process.stderr


@pytest.mark.parametrize(
    "values",
    [{"score": 7}, {"score": None}, {"id": 3}, {"kept_indices": [["a"]]}, {"unit": 1}, {"kept": "8"}],
)
def test_samples_that_no_test_can_use(copied, values):
    run_dir = copied()
    file = run_dir / "samples.jsonl"
    first, rest = file.read_text().split("\n", 1)
    file.write_text(json.dumps({**json.loads(first), **values}) + "\n" + rest)
    with pytest.raises(UserError, match="line 1 is damaged"):
        load_samples(run_dir)


def test_samples_that_are_missing(copied):
    run_dir = copied()
    (run_dir / "samples.jsonl").unlink()
    with pytest.raises(UserError, match=f"it is missing; remove {run_dir} to run this cell again"):
        load_samples(run_dir)
    (run_dir / "config.yaml").unlink()
    with pytest.raises(UserError, match="it is missing; the result was copied without its run"):
        load_samples(run_dir)


def test_a_finished_run_on_a_disk_that_can_only_be_read(copied):
    run_dir = copied("disk")
    disk = run_dir.parents[2]
    mounted = subprocess.run(["mount", "--bind", disk, disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"mounting a folder: {mounted.stderr.decode().strip()}")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", disk], check=True)
        again = run(*FEW, "seed=1", f"outputs={disk}")
        assert last_line(again)["run_dir"] == str(run_dir)
        assert score([str(disk)]) == 0
        new = run(*FEW, "seed=2", f"outputs={disk}")
        assert new.returncode == 2
        assert new.stderr.splitlines()[-1].startswith("error: outputs: cannot write to ")
    finally:
        subprocess.run(["umount", disk], check=True)
