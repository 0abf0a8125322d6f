"""What must not lose or change a result: kills, full disks, clocks, missing trackers, and shards."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from commands import answers, result
from disks import small_disk
from families import save
from photos import PHOTOS
from PIL import Image
from processes import start
from wandb_log import read_wandb

from script_exp.benchmarks.shapes import Shapes

LIMIT = 40
QUICK = ["latency=off", "unpruned=off", "batch_size=4", "benchmark.scenes=8", f"limit={LIMIT}"]


def assert_same(run_dir: Path, whole: Path) -> None:
    assert answers(run_dir) == answers(whole)
    assert result(run_dir) == result(whole)
    assert run_dir.name == whole.name


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run without any fault."""
    folder = tmp_path_factory.mktemp("whole")
    return Path(start(folder / "out", *QUICK, f"outputs={folder}").last_line()["run_dir"])


@pytest.mark.slow
def test_twenty_kills_change_nothing(tmp_path):
    """SIGKILL at random moments: before, while and after something is written."""
    arguments = ["latency=off", "unpruned=off", "batch_size=1", "benchmark.scenes=16", "limit=100"]
    whole = Path(start(tmp_path / "out", *arguments, f"outputs={tmp_path / 'a'}").last_line()["run_dir"])
    arguments.append(f"outputs={tmp_path / 'b'}")
    place = tmp_path / "b" / whole.relative_to(tmp_path / "a")
    rng = random.Random(5)
    for kill in range(20):
        before = _answered(place)
        run = start(tmp_path / "out", *arguments)
        while kill % 4 and run.process.is_alive() and _answered(place) <= before:
            time.sleep(0.01)
        at = time.monotonic() + rng.random() * (0.05 if kill % 4 else 2)
        while time.monotonic() < at and _answered(place) < before + 3:  # else a fast machine finishes
            time.sleep(0.001)
        run.process.kill()
        run.process.join()
        assert run.process.exitcode == -signal.SIGKILL, run.text()
    assert 0 < _answered(place) < 100
    assert_same(Path(start(tmp_path / "out", *arguments).last_line()["run_dir"]), whole)


def _answered(place: Path) -> int:
    file = place / "samples.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


@pytest.mark.parametrize("filled_up_to", [6, 3, 2, 1])
def test_a_full_disk_is_said_and_mended(whole, tmp_path, filled_up_to):
    """The disk is full before the first file is written, or in the middle of the samples (pages left)."""
    disk = tmp_path / "disk"
    with small_disk(disk, "64k"):
        arguments = [*QUICK, f"outputs={disk}/outputs"]
        (disk / "ballast").write_bytes(b"x" * (4096 * (14 - filled_up_to)))
        run = start(tmp_path / "out", *arguments)
        assert run.wait() == 2, run.text()
        (sentence,) = [line for line in run.text().splitlines() if line.startswith("error: ")]
        assert "No space left on device" in sentence
        assert "Traceback" not in run.text()
        subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
        place = Path(start(tmp_path / "out", *arguments).last_line()["run_dir"])
        assert_same(place, whole)


def test_a_clock_that_jumps_back_changes_nothing(whole, tmp_path):
    setup = (
        "import itertools, time\n"
        "steps, now = itertools.count(), time.time()\n"
        "time.time = lambda: now - 3600 * next(steps)\n"
    )
    run = start(tmp_path / "out", *QUICK, f"outputs={tmp_path}", setup=setup)
    assert_same(Path(run.last_line()["run_dir"]), whole)


@pytest.mark.parametrize(
    "version",
    ["script_exp.config.settings.PROTOCOL_VERSION", "script_exp.benchmarks.shapes.Shapes.prompt_version"],
)
def test_a_changed_version_is_another_run(whole, tmp_path, version):
    place, name = version.rsplit(".", 1)
    module = place.removesuffix(".Shapes")
    setup = f"import {module}\nsetattr({place}, '{name}', 99)"
    run = start(tmp_path / "out", *QUICK, f"outputs={whole.parents[2]}", setup=setup)
    other = Path(run.last_line()["run_dir"])
    assert other.name != whole.name
    assert len(answers(other)) == LIMIT


def test_shards_merge_into_the_same_result(whole, tmp_path):
    """In any order, one of them killed on the way; the last one merges."""
    arguments = [*QUICK, "shards=3", f"outputs={tmp_path}"]
    place = tmp_path / whole.relative_to(whole.parents[2])
    killed = start(tmp_path / "out", *arguments, "shard=2")
    while _answered(place / "shards" / "2-of-3") == 0 and killed.process.is_alive():
        time.sleep(0.02)
    killed.process.kill()
    killed.process.join()
    for shard, missing in ((1, "0, 2"), (2, "0")):
        run = start(tmp_path / "out", *arguments, f"shard={shard}")
        assert run.last_line() == {
            "run_dir": str(place), "accuracy": None, "tokens_kept": None, "llm_prefill_ms": None,
        }  # fmt: skip
        assert f"shard {shard} of 3 is finished; still missing: {missing}" in run.text()
        assert not (place / "result.json").exists()
    last = start(tmp_path / "out", *arguments, "shard=0").last_line()
    assert last["accuracy"] == result(whole)["accuracy"]["value"]
    assert_same(place, whole)
    assert len(json.loads((place / "result.json").read_text())["provenance"]) == 5  # 4 shard runs, 1 merge
    assert "already finished" in start_and_read(tmp_path, *arguments, "shard=1")


def test_more_shards_than_batches(tmp_path):
    arguments = ["latency=off", "unpruned=off", "batch_size=4", "benchmark.scenes=2", "limit=8"]
    whole = Path(start(tmp_path / "out", *arguments, f"outputs={tmp_path / 'a'}").last_line()["run_dir"])
    for shard in range(4):
        shards = ["shards=4", f"shard={shard}", f"outputs={tmp_path / 'b'}"]
        last = start(tmp_path / "out", *arguments, *shards).last_line()
    assert_same(Path(last["run_dir"]), whole)


def test_a_signal_after_the_result_leaves_a_finished_run(tmp_path):
    arguments = ["latency=off", "unpruned=off", "benchmark.scenes=1", "limit=4", f"outputs={tmp_path}"]
    arguments.append("tracker=none")
    setup = (
        "from script_exp.results.tracker import NoTracker\n"
        "from script_exp.terminal.signals import Terminated\n"
        "def finish(*_, **__):\n    raise Terminated(15)\n"
        "NoTracker.finish = finish\n"
    )
    assert start(tmp_path / "out", *arguments, setup=setup).wait() == 143
    place = Path(start(tmp_path / "out", *arguments).last_line()["run_dir"])
    assert json.loads((place / "status.json").read_text())["state"] == "finished"
    # What the finished run cannot give is an error of the sweep, not a finished cell.
    refused = start(tmp_path / "out", "-m", *arguments, "record_kept=true")
    assert refused.wait() == 1
    assert "0 of 1 cells finished" in refused.text()


def test_force_starts_over_once_in_a_sweep(tmp_path):
    arguments = [
        "-m", "pruner=none", "budget=64,32", "latency=off", "benchmark.scenes=1", "limit=4",
        f"outputs={tmp_path}",
    ]  # fmt: skip
    for turn in range(2):
        run = start(tmp_path / "out", *arguments, "force=true")
        assert run.wait() == 0, run.text()
        assert len(list(tmp_path.glob("replaced/tiny/shapes/*"))) == turn


def test_a_run_without_shards_goes_on_where_shards_stopped(whole, tmp_path):
    arguments = [*QUICK, f"outputs={tmp_path}"]
    start(tmp_path / "out", *arguments, "shards=2", "shard=1").last_line()
    place = Path(start(tmp_path / "out", *arguments).last_line()["run_dir"])
    assert sorted(map(str, answers(place))) == sorted(map(str, answers(whole)))
    assert result(place) == result(whole)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [("shards=2", "shard=None: expected the number of this shard, 0 to 1, with shards=2"),
     ("shards=2 shard=2", "shard=2: expected the number of this shard"),
     ("shard=0 shards=0", "shards=0: expected a whole number >= 1"),
     ("shards=2 shard=1 force=true", "force=True: expected false with shards"),
     ("batch_size=half", "batch_size=half: expected"), ("feature_cache_gib=-1", "feature_cache_gib=-1")],
)  # fmt: skip
def test_settings_that_cannot_be(tmp_path, arguments, message):
    run = start(tmp_path / "out", *QUICK, f"outputs={tmp_path / 'outputs'}", *arguments.split())
    assert run.wait() == 2
    assert message in run.text()
    assert not (tmp_path / "outputs").exists()


def start_and_read(folder: Path, *arguments: object) -> str:
    run = start(folder / "out", *arguments)
    run.last_line()
    return run.text()


def test_force_starts_over_and_keeps_the_old_run(whole, tmp_path):
    arguments = ["latency=off", "unpruned=off", "benchmark.scenes=1", "limit=4", f"outputs={tmp_path}"]
    place = Path(start(tmp_path / "out", *arguments).last_line()["run_dir"])
    old = (place / "samples.jsonl").read_bytes()
    message = "record_kept=True: expected false, or force=true to start over"
    refused = start(tmp_path / "out", *arguments, "record_kept=true")
    assert refused.wait() == 2
    assert message in refused.text()
    text = start_and_read(tmp_path, *arguments, "record_kept=true", "force=true")
    aside = tmp_path / "replaced" / f"{place.relative_to(tmp_path)}.1"
    assert f"starting over; the old run is now {aside}" in text
    assert (aside / "samples.jsonl").read_bytes() == old
    assert all(len(record["kept_indices"][0]) == record["kept"] for record in answers(place))
    again = start_and_read(tmp_path, *arguments, "force=true", "record_kept=true")
    assert (tmp_path / "replaced" / f"{place.relative_to(tmp_path)}.2").exists(), again
    # A job that SLURM starts again goes on with its own run instead.
    requeued = start(tmp_path / "out", *arguments, "force=true", SLURM_RESTART_COUNT="1")
    requeued.last_line()
    assert "already finished" in requeued.text()


def test_a_tracker_that_dies_does_not_hurt_the_run(whole, tmp_path):
    run = start(tmp_path / "out", *QUICK, "tracker.mode=offline", f"outputs={tmp_path}")
    place = tmp_path / whole.relative_to(whole.parents[2])
    while _answered(place) == 0 and run.process.is_alive():
        time.sleep(0.02)
    services = [int(pid.name) for pid in Path("/proc").iterdir() if pid.name.isdigit() and _is_service(pid)]
    mine = [pid for pid in services if _ancestor(pid, run.process.pid)]
    assert mine, "no wandb service to kill"
    for pid in mine:
        os.kill(pid, signal.SIGKILL)
    assert_same(Path(run.last_line()["run_dir"]), whole)


def _is_service(process: Path) -> bool:
    try:
        return "wandb-core" in (process / "cmdline").read_text().split("\0")[0]
    except OSError:
        return False


def _ancestor(pid: int, ancestor: int) -> bool:
    while pid > 1:
        if pid == ancestor:
            return True
        pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return False


def test_a_server_that_is_away_does_not_hurt_the_run(whole, tmp_path):
    """Online mode: everything is in the run directory all the same, for a later ``wandb beta sync``."""
    environment = {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "k" * 40}
    online = ["tracker.mode=online", "tracker.wait_s=0.5"]
    run = start(tmp_path / "out", *QUICK, *online, f"outputs={tmp_path}", **environment)
    place = Path(run.last_line()["run_dir"])
    assert_same(place, whole)
    logged = read_wandb(next(place.rglob("*.wandb")))
    assert logged.summary["accuracy/value"] == pytest.approx(result(whole)["accuracy"]["value"])
    assert "k" * 40 not in "".join(
        file.read_text(errors="replace") for file in place.rglob("*") if file.is_file()
    )
    subprocess.run(["pkill", "-f", f"beta sync --live {place}"], check=False)


def test_the_tracker_shows_samples_with_what_was_kept(tmp_path):
    run = start(tmp_path / "out", *QUICK, "tracker.mode=offline", f"outputs={tmp_path}", "pruner=random")
    place = Path(run.last_line()["run_dir"])
    logged = read_wandb(next(place.rglob("*.wandb")))
    assert logged.summary["samples.nrows"] == logged.summary["kept_tokens.count"] == 8
    table = json.loads(next(place.rglob("*.table.json")).read_text())
    first = answers(place)[0]
    assert table["data"][0][:2] == [first["id"], first["question"]]
    images = [np.asarray(sample.visual()) for sample in Shapes(scenes=2, scene_seed=20264).samples()[:8]]
    for file in place.rglob("kept_tokens_*.png"):
        picture = np.asarray(Image.open(file).convert("RGB"), int)
        faded = [np.abs(picture - image).reshape(24, 8, 24, 8, 3).max(axis=(1, 3, 4)) > 0 for image in images]
        assert any((~patches).sum() == 64 for patches in faded)


def test_crops_without_their_padding_are_shown_too(tmp_path):
    """640 x 460: 576 tokens enter the LLM, from five crops of 144."""
    run = start(
        tmp_path / "out", f"model.path={save('llava_next', tmp_path / 'model')}", PHOTOS,
        "pruner=graph", "budget=64", "limit=2", "record_kept=true", "latency=off", "unpruned=off",
        "tracker.mode=offline", f"outputs={tmp_path / 'outputs'}",
    )  # fmt: skip
    place = Path(run.last_line()["run_dir"])
    assert {(record["visual"], record["crops"]) for record in answers(place)} == {(576, 5)}
    logged = read_wandb(next(place.rglob("*.wandb")))
    assert logged.summary["accuracy/value"] == result(place)["accuracy"]["value"]
    assert logged.summary["kept_tokens.count"] == 2
    (kept,) = {str(record["kept_indices"]): record["kept_indices"] for record in answers(place)}.values()
    for file in place.rglob("kept_tokens_*.png"):
        pixels = np.asarray(Image.open(file).convert("RGB"))
        darkest = pixels.reshape(12, 14, 5, 12, 14, 3).min(axis=(1, 4, 5))  # of each patch of each crop
        shown = [np.flatnonzero(darkest[:, crop] < 191) for crop in range(5)]  # what fades is 191 or more
        assert [crop.tolist() for crop in shown] == kept
