"""W&B on a full disk and under a sweep agent, and finished cells in a tracked sweep."""

from __future__ import annotations

import json
from pathlib import Path

from commands import answers
from disks import small_disk
from processes import last_line, run, start
from wandb_log import read_wandb

from script_exp.results.tracker import ShownSample, TrackedRun, WandbTracker

QUICK = ["benchmark.scenes=1", "limit=4", "latency=off", "unpruned=off", "pruner=random", "budget=8"]


def test_a_disk_that_is_full_before_the_run_is_tracked(tmp_path):
    """The tracking does not start, and does not wait for W&B's service."""
    disk = tmp_path / "disk"
    with small_disk(disk, "900k"):
        process = run(*QUICK, "tracker.mode=offline", f"outputs={disk}/outputs")
        run_dir = Path(last_line(process)["run_dir"])
        (line,) = [line for line in process.stderr.splitlines() if "W&B" in line]
        assert line.startswith("W&B: stopped tracking this run: OSError: [Errno 28] No space left on device")
        assert not (run_dir / "wandb").exists()


def test_a_disk_that_fills_up_while_a_run_is_tracked(tmp_path):
    """One sentence, and not a traceback for each line that W&B cannot write to its logs."""
    disk = tmp_path / "disk"
    setup = (
        "from script_exp.terminal.progress import Progress as P\n"
        "advance = P.advance\n"
        "def fill(self, scores):\n"
        "    try:\n"
        f"        open('{disk}/ballast', 'wb').write(bytes(8 * 2**20))\n"
        "    except OSError:\n"
        "        pass\n"
        "    return advance(self, scores)\n"
        "P.advance = fill\n"
    )
    with small_disk(disk, "4m"):
        arguments = [*QUICK, "batch_size=1", "tracker.mode=offline", f"outputs={disk}/outputs"]
        failed = start(tmp_path / "out", *arguments, setup=setup, errors=tmp_path / "err")
        assert failed.wait() == 2
        lines = (tmp_path / "err").read_text().splitlines()
        assert len([line for line in lines if line.startswith("error: cannot write ")]) == 1
        assert not [line for line in lines if "Traceback" in line or "Logging error" in line]
        assert not [line for line in lines if "socket.send" in line]
        (disk / "ballast").unlink()
        assert len(answers(Path(last_line(run(*arguments))["run_dir"]))) == 4


def test_a_run_of_a_sweep_agent_keeps_its_id(tmp_path):
    agent = {"WANDB_SWEEP_ID": "abc123", "WANDB_RUN_ID": "theirs", "WANDB_RESUME": "must"}
    process = run(*QUICK, "tracker.mode=offline", f"outputs={tmp_path}", **agent)
    run_dir = Path(last_line(process)["run_dir"])
    (log,) = run_dir.rglob("*.wandb")
    assert log.name == f"run-{run_dir.name.rsplit('-', 1)[1]}.wandb"
    assert process.stderr.count("W&B: runs keep their own ids, so WANDB_RUN_ID, WANDB_SWEEP_ID, WANDB_R") == 1
    assert read_wandb(log).exit_code == 0


def test_a_tracked_sweep_logs_the_cells_that_are_finished(tmp_path):
    arguments = ["-m", *QUICK, "budget=8,16", f"outputs={tmp_path}"]
    assert run(*arguments).returncode == 0
    assert not list(tmp_path.rglob("*.wandb"))
    tracked = run(*arguments, "tracker.mode=offline")
    assert "2 cells, 2 of them finished already, 0 to run" in tracked.stderr
    assert "2 of 2 cells finished" in tracked.stderr
    results = list(tmp_path.glob("tiny/shapes/*/result.json"))
    for result in results:
        (log,) = result.parent.rglob("*.wandb")
        assert json.loads(read_wandb(log).summary["result"]) == json.loads(result.read_text())
        assert len(json.loads(result.read_text())["provenance"]) == 1  # nothing ran again
    again = run(*arguments, "tracker.mode=offline")
    assert "2 cells, 2 of them finished already, 0 to run" in again.stderr
    assert len(list(tmp_path.rglob("*.wandb"))) == len(results) == 2


def test_control_characters_in_a_table(tmp_path):
    tracker = WandbTracker()
    tracker.start(TrackedRun("name", "id", "group", ["tag"], config={}, folder=tmp_path))
    tracker.show([ShownSample("1", "a\x00b\nc", ["\x1b[31m"], "d\x07", 1.0, 8, None)])
    tracker.finish({})
    table = json.loads(next(tmp_path.rglob("*.table.json")).read_text())
    assert table["data"] == [["1", r"a\x00b" + "\nc", r"\x1b[31m", r"d\x07", 1.0, 8]]
