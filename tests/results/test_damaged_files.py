"""Damaged token counts, logs and notes of sweeps are named or made anew, and nothing waits for a pipe."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from processes import last_line, run, start

from script_exp.errors import UserError
from script_exp.results.run_log import log_to
from script_exp.results.wandb_upload import Upload, output_file, sent_to
from script_exp.sweeps.record import CellState, SweepRecord
from script_exp.sweeps.summary import summarize_sweep

FEW = ["benchmark.scenes=2", "limit=16", "latency=off", "unpruned=off", "batch_size=4", "budget=64"]


@pytest.fixture(scope="module", params=["random", "fastv"])
def whole(request, tmp_path_factory):
    outputs = tmp_path_factory.mktemp(request.param)
    arguments = [*FEW, f"pruner={request.param}"]
    return Path(last_line(run(*arguments, f"outputs={outputs}"))["run_dir"]), arguments


def half_done(run_dir, outputs, changes):
    """A copy of a run without a result, with other values in its third answer."""
    place = Path(shutil.copytree(run_dir, outputs / run_dir.relative_to(run_dir.parents[2])))
    (place / "result.json").unlink()
    lines = [json.loads(line) for line in (place / "samples.jsonl").read_text().splitlines()]
    lines[2] |= {name: lines[2][name] + by for name, by in changes.items()}
    (place / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return place


CHANGES = [
    ({"kept": 1}, 1), ({"kept": -64, "layer_average": -64.0}, 1), ({"visual": 64, "offered": 64}, 1),
    ({"visual": -2**10}, 1), ({"text": 8}, 1), ({"query": 1}, 1), ({"layer_average": 0.5}, 1),
    ({"budget_crops": 1}, 1), ({"crops": 4}, 6), ({"batch": -4}, 1),
]  # fmt: skip


def test_token_counts_that_cannot_be_are_asked_again(whole, tmp_path):
    run_dir, arguments = whole
    before = json.loads((run_dir / "result.json").read_text())
    for number, (changes, asked) in enumerate(CHANGES):
        outputs = tmp_path / str(number)
        place = half_done(run_dir, outputs, changes)
        process = run(*arguments, f"outputs={outputs}")
        assert last_line(process)["run_dir"] == str(place)
        note = " ".join(process.stderr.split())
        assert f"samples.jsonl: {asked} answers are asked again: " in note, changes
        after = json.loads((place / "result.json").read_text())
        assert {**after, "provenance": 0} == {**before, "provenance": 0}, changes


def test_whole_counts_are_taken_over(whole, tmp_path):
    run_dir, arguments = whole
    half_done(run_dir, tmp_path, {})
    assert "asked again" not in run(*arguments, f"outputs={tmp_path}").stderr


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_log_that_is_no_file(tmp_path, make):
    arguments = [*FEW, "pruner=random", "limit=1", f"outputs={tmp_path}"]
    run_dir = Path(last_line(run(*arguments))["run_dir"])
    (run_dir / "result.json").unlink()
    (run_dir / "run.log").unlink()
    make(run_dir / "run.log")
    process = run(*arguments)
    assert process.returncode == 2
    expected = f"error: {run_dir}/run.log is not a file; remove it, then repeat the command"
    assert process.stderr.splitlines() == [expected]
    status = run(tmp_path, script="runners/status.py")
    assert status.returncode == 1
    assert "Traceback" not in status.stderr


def test_a_log_that_cannot_be_written(tmp_path):
    with pytest.raises(UserError, match=r"cannot write .*/nowhere/run\.log \(No such file"):
        log_to(tmp_path / "nowhere" / "run.log").__enter__()


def test_the_output_of_an_upload_that_is_a_pipe(tmp_path):
    log = tmp_path / "wandb" / "offline-run-1"
    log.mkdir(parents=True)
    os.mkfifo(output_file(log))
    with pytest.raises(UserError, match=r"sync\.log is not a file"):
        Upload(log)
    assert sent_to(log) == f"sent, see {output_file(log)}"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_status_that_is_no_file(tmp_path, make):
    run_dir = tmp_path / "tiny" / "shapes" / "random-8-s0-0123456789"
    run_dir.mkdir(parents=True)
    make(run_dir / "status.json")
    status = run(tmp_path, script="runners/status.py")
    assert status.returncode == 1
    assert f"damaged: {run_dir}: {run_dir}/status.json is not a file" in status.stdout
    assert "Traceback" not in status.stderr


@pytest.fixture
def sweep(tmp_path):
    record = SweepRecord(tmp_path)
    record.plan([CellState(["seed=0"], "missing"), CellState(["seed=1"], "missing")])
    record.note_cell(0, None, "out of luck")
    record.note_cell(1, None, "out of luck")
    return record


NOTES = ["", "{", "[1]", "7", "{}", '{"run_dir": 7, "error": null}', '{"run_dir": null, "error": ["a"]}']


@pytest.mark.parametrize("contents", [*NOTES, "\x00", "[" * 100_000])
def test_a_damaged_note_is_one_damaged_cell(sweep, contents):
    file = sweep.folder / "cells" / "0.json"
    file.write_text(contents)
    damaged, other = sweep.cells()
    assert damaged.state == "damaged"
    assert str(damaged.why).startswith(f"{file} is damaged (")
    assert (other.state, other.why) == ("failed", "out of luck")
    lines, finished = summarize_sweep(sweep.folder, sweep.cells())
    assert not finished
    assert f"damaged: seed=0: {file} is damaged (" in "\n".join(lines)


def test_a_note_that_is_a_pipe(sweep):
    file = sweep.folder / "cells" / "0.json"
    file.unlink()
    os.mkfifo(file)
    assert [cell.state for cell in sweep.cells()] == ["damaged", "failed"]


@pytest.mark.parametrize("contents", [*NOTES, "[7]", '[{"state": "missing"}]', None])
def test_a_damaged_plan_is_named(sweep, contents):
    file = sweep.folder / "planned.json"
    if contents is None:
        file.unlink()
    else:
        file.write_text(contents)
    with pytest.raises(UserError, match=r"planned\.json is (damaged|missing)"):
        sweep.cells()


def test_a_sweep_whose_plan_was_damaged_ends_with_a_sentence(tmp_path):
    setup = (
        "import script_exp.cell.run as run\nfrom pathlib import Path\n"
        "def damage(*_):\n"
        f"    next(Path('{tmp_path}').rglob('planned.json')).write_text('[')\n"
        "run.check_agrees = damage\nrun.outcome = damage\n"
    )
    arguments = ["-m", *FEW, "pruner=random", "limit=1", f"outputs={tmp_path}/outputs"]
    process = start(tmp_path / "out", *arguments, setup=setup, errors=tmp_path / "err")
    assert process.wait() == 2
    last = (tmp_path / "err").read_text().splitlines()[-1]
    assert last.startswith("error: ")
    assert "planned.json is damaged (" in last
