"""Runs in W&B: what a server gets, what it cannot break, and what the terminal says."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands import answers, result, wait_until
from processes import last_line, run, start
from wandb_log import read_wandb
from wandb_server import KEY, ReceivedRun, StandIn, stand_in

from script_exp.results.metrics import final_metrics
from script_exp.results.tracker import TrackedRun, WandbTracker
from script_exp.results.wandb_upload import is_sent
from script_exp.sweeps.record import group_of

CELL = ["benchmark.scenes=1", "latency=off", "unpruned=off", "pruner=random", "budget=8"]
QUICK = [*CELL, "tracker.mode=offline"]
ONLINE = [*CELL, "tracker.mode=online"]
PATIENT = [*ONLINE, "tracker.wait_s=300"]


@pytest.fixture(scope="module")
def server():
    with stand_in() as state:
        yield state


@pytest.fixture(scope="module")
def offline(tmp_path_factory):
    """A run without a tracker, then with W&B offline."""
    folder = tmp_path_factory.mktemp("offline")
    first = run(*CELL, "tracker=none", f"outputs={folder}")
    arguments = [*QUICK, f"outputs={folder}"]
    return Path(last_line(first)["run_dir"]), arguments, run(*arguments)


def assert_whole(received: ReceivedRun, run_dir: Path) -> None:
    """The server has all of a finished run."""
    expected = json.loads((run_dir / "result.json").read_text())
    assert json.loads(received.summary["result"]) == expected
    assert received.summary["accuracy/value"] == pytest.approx(expected["accuracy"]["value"])
    means = [row["accuracy/running"] for row in received.history if "accuracy/running" in row]
    assert means[-1] == pytest.approx(expected["accuracy"]["value"])
    steps = [row["_step"] for row in received.history]
    assert steps == sorted(set(steps))
    assert received.config["pruner"]["name"] == expected["cell"]["pruner"]
    assert received.variables["displayName"].startswith("tiny-shapes-")
    shown = received.table()["data"]
    names = [row[0] for row in shown]
    assert names == [answer["id"] for answer in answers(run_dir) if answer["id"] in names]
    assert len(shown) == min(8, len(answers(run_dir)))
    assert received.exit_codes[-1] == 0


def received(server: StandIn, run_dir: Path) -> ReceivedRun:
    return server.runs[run_dir.name.rsplit("-", 1)[1]]


def command_of(output: str) -> list[str]:
    """The command that sends the rest, as a shell reads it."""
    (line,) = [line for line in output.splitlines() if "W&B" in line]
    return shlex.split(line[line.index("wandb sync") :])


def test_online_sends_the_whole_of_a_short_run(server, tmp_path):
    process = run(*PATIENT, f"outputs={tmp_path}", **server.environment())
    run_dir = Path(last_line(process)["run_dir"])
    assert_whole(received(server, run_dir), run_dir)
    url = f"{server.url}/me/script-exp/runs/{run_dir.name.rsplit('-', 1)[1]}"
    assert f"W&B: {url}" in process.stderr.splitlines()
    pictures = [name for name in received(server, run_dir).files if "kept_tokens" in name]
    assert len(pictures) == received(server, run_dir).summary["kept_tokens"]["count"]
    files = "".join(file.read_text(errors="replace") for file in tmp_path.rglob("*") if file.is_file())
    assert KEY not in files + process.stdout + process.stderr

    # Nothing is logged or sent again.
    server.requests = 0
    again = run(*PATIENT, f"outputs={tmp_path}", **server.environment())
    assert f"W&B: {url}" in again.stderr.splitlines()
    assert server.requests == 0
    assert len(list(run_dir.glob("wandb/offline-run-*"))) == 1


def test_online_sends_every_cell_of_a_sweep(server, tmp_path):
    arguments = ["-m", *PATIENT, "budget=4,16", "limit=4", f"outputs={tmp_path}"]
    sweep = run(*arguments, **server.environment())
    assert sweep.returncode == 0, sweep.stderr
    run_dirs = [file.parent for file in tmp_path.glob("tiny/shapes/*/result.json")]
    assert len(run_dirs) == 2
    for run_dir in run_dirs:
        assert_whole(received(server, run_dir), run_dir)
    assert sweep.stderr.count("W&B: http") == 2


def test_a_repeated_sweep_is_the_same_group(tmp_path):
    """One run is started anew, the other only logged, while the sweep plans."""
    arguments = ["-m", *QUICK, "budget=4,16", "limit=2", f"outputs={tmp_path}"]
    groups = set()
    for _ in range(2):
        run(*arguments)
        run_dirs = sorted(file.parent for file in tmp_path.glob("tiny/shapes/*/result.json"))
        logs = [read_wandb(next(folder.rglob("*.wandb"))) for folder in run_dirs]
        groups |= {log.group for log in logs}
        assert len(logs) == 2
        shutil.rmtree(run_dirs[0])
        shutil.rmtree(run_dirs[1] / "wandb")
    (group,) = groups
    assert re.fullmatch("budget-[0-9a-f]{8}", group)
    folder, cells = Path("2026-11-29_10-00-00-123456"), [["budget=4", "x=1"], ["budget=16", "x=1"]]
    assert group_of(folder, cells) == group_of(folder.with_name("2026-11-30_10-00-00-1"), cells[::-1])
    assert group_of(folder, cells) != group_of(folder, cells[:1])
    assert group_of(Path("mine"), cells) == "mine"
    assert group_of(Path("mine"), [[*cell, "experiment=readme"] for cell in cells]) == "readme"


@pytest.mark.slow
def test_online_sends_the_whole_of_a_resumed_run(server, tmp_path):
    """The killed run's upload ends by itself; the resumed run's log holds the earlier answers, too."""
    slow = (
        "import time\nfrom script_exp.terminal.progress import Progress as P\nadvance = P.advance\n"
        "def slowly(self, scores):\n    time.sleep(0.5)\n    return advance(self, scores)\n"
        "P.advance = slowly\n"
    )
    arguments = [*PATIENT, "batch_size=1", "seed=4", "benchmark.scenes=8", f"outputs={tmp_path}"]
    killed = start(tmp_path / "out", *arguments, setup=slow, **server.environment())
    samples = wait_until(lambda: next(iter(tmp_path.glob("tiny/*/*/samples.jsonl")), None))
    wait_until(lambda: server.runs.get(samples.parent.name.rsplit("-", 1)[1]))
    os.kill(killed.process.pid, signal.SIGKILL)
    killed.process.join()
    before = len(samples.read_bytes().splitlines())
    assert not (samples.parent / "result.json").exists()
    resumed = run(*arguments, **server.environment())
    run_dir = Path(last_line(resumed)["run_dir"])
    assert run_dir == samples.parent
    assert_whole(received(server, run_dir), run_dir)
    rows = [row for row in received(server, run_dir).history if "accuracy/running" in row]
    assert [row["_step"] for row in rows] == list(range(1, len(answers(run_dir)) + 1))
    assert len(rows) > before > 0
    log = next(iter(sorted(run_dir.glob("wandb/offline-run-*"))))
    wait_until(lambda: not uploads(log))


def uploads(log: Path) -> list[int]:
    """Processes that upload a log."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            command = (process / "cmdline").read_text() if process.name.isdigit() else ""
        except OSError:  # it has ended
            continue
        if str(log) in command:
            found.append(int(process.name))
    return found


@pytest.mark.slow
def test_online_sends_a_run_that_failed_and_then_the_finished_one(server, tmp_path):
    broken = (
        "import script_exp.cell.run as run\n"
        "def outcome(*_):\n    raise RuntimeError('no outcome')\n"
        "run.outcome = outcome\n"
    )
    arguments = [*PATIENT, "seed=5", f"outputs={tmp_path}"]
    failed = start(tmp_path / "out", *arguments, setup=broken, **server.environment())
    assert failed.wait() == 1
    (status,) = tmp_path.glob("tiny/*/*/status.json")
    assert json.loads(status.read_text())["state"] == "failed"
    got = received(server, status.parent)
    assert got.exit_codes == [1]
    assert "accuracy/running" in got.history[-1]
    finished = run(*arguments, **server.environment())
    assert_whole(got, Path(last_line(finished)["run_dir"]))


@pytest.mark.slow
def test_online_sends_a_run_in_shards_whole(server, tmp_path):
    arguments = [*PATIENT, "batch_size=2", "seed=6", "shards=2", f"outputs={tmp_path}"]
    last_line(run(*arguments, "shard=0", **server.environment()))
    merged = run(*arguments, "shard=1", **server.environment())
    run_dir = Path(last_line(merged)["run_dir"])
    assert_whole(received(server, run_dir), run_dir)
    assert received(server, run_dir).exit_codes == [0]


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["hangs", "401", "500", "away"])
def test_a_server_at_fault_neither_fails_nor_holds_a_run(offline, tmp_path, fault):
    """What was not sent is said with the command that sends it, and the same command sends it later."""
    outputs = tmp_path / "my runs"
    mine = [*ONLINE, f"outputs={json.dumps(str(outputs))}", "tracker.wait_s=0.5"]
    with stand_in(200 if fault in ("hangs", "away") else int(fault), hangs=fault == "hangs") as broken:
        environment = broken.environment()
        if fault == "away":
            environment["WANDB_BASE_URL"] = "http://127.0.0.1:9"
        process = run(*mine, **environment)
        run_dir = Path(last_line(process)["run_dir"])
        assert result(run_dir) == result(offline[0])
        command = command_of(process.stderr)
        assert command[:2] == ["wandb", "sync"]
        (log,) = run_dir.glob("wandb/offline-run-*")
        assert Path(*command[2:]) == log.resolve()
        assert not is_sent(log)
        for upload in uploads(log):
            os.kill(upload, signal.SIGTERM)
        wait_until(lambda: not uploads(log))
    with stand_in() as mended:
        again = run(*mine, "tracker.wait_s=300", **mended.environment())
        assert "W&B: http" in again.stderr
        assert_whole(received(mended, run_dir), run_dir)


def test_a_finished_run_is_logged_once_from_its_result(offline):
    run_dir, arguments, process = offline
    assert "already finished" in process.stderr
    (log,) = run_dir.glob("wandb/offline-run-*")
    assert command_of(process.stdout) == ["wandb", "sync", str(log.resolve())]
    logged = read_wandb(next(log.glob("*.wandb")))
    accuracy = result(run_dir)["accuracy"]["value"]
    assert logged.summary["accuracy/value"] == pytest.approx(accuracy)
    means = [row["accuracy/running"] for row in logged.history if "accuracy/running" in row]
    assert means[-1] == pytest.approx(accuracy)
    table = json.loads(next(log.rglob("*.table.json")).read_text())
    assert [row[0] for row in table["data"]] == [answer["id"] for answer in answers(run_dir)[:8]]
    assert logged.exit_code == 0
    again = run(*arguments)
    assert command_of(again.stdout) == command_of(process.stdout)
    summary = final_metrics(json.loads((run_dir / "result.json").read_text()))
    assert WandbTracker().has_logged(run_dir, summary)
    assert not WandbTracker(project="other").has_logged(run_dir, summary)
    assert not WandbTracker().has_logged(run_dir, summary | {"accuracy/value": 0})
    assert len(list(run_dir.glob("wandb/offline-run-*"))) == 1


def test_a_new_score_is_logged_again(tmp_path):
    arguments = [*QUICK, "limit=3", f"outputs={tmp_path}"]
    run_dir = Path(last_line(run(*arguments))["run_dir"])
    file = run_dir / "samples.jsonl"
    records = [json.loads(line) | {"prediction": "nothing like it"} for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    scored = run(run_dir, script="runners/score.py")
    assert "rescored" in scored.stdout
    last_line(run(*arguments))
    logs = [read_wandb(path) for path in sorted(run_dir.rglob("*.wandb"))]
    assert [log.summary["accuracy/value"] for log in logs][-1] == 0
    assert len(logs) == 2


def test_wandb_sync_accepts_what_a_run_leaves(server, tmp_path):
    """As ``make run`` leaves it: the run and the unpruned one, which was there without a log."""
    common = ["benchmark.scenes=1", "limit=2", "latency=off", f"outputs={tmp_path}"]
    silent = run(*common, "pruner=none", "tracker=none")
    assert silent.returncode == 0
    assert "W&B" not in silent.stdout + silent.stderr
    arguments = [*common, "pruner=random", "budget=8"]
    process = run(*arguments, WANDB_MODE="offline")
    run_dir = Path(last_line(process)["run_dir"])
    logs = {log.parents[1]: log for log in tmp_path.rglob("wandb/offline-run-*")}
    assert {read_wandb(next(log.glob("*.wandb"))).name for log in logs.values()} == {
        "tiny-shapes-random-8-s0",
        "tiny-shapes-none-s0",
    }
    assert process.stdout.splitlines()[-2].startswith(
        "W&B: 2 runs are logged on this machine only; send with: "
    )
    wandb, *rest = command_of(process.stdout)
    assert [Path(word) for word in rest[1:]] == [logs[path].resolve() for path in sorted(logs)]
    environment = {key: value for key, value in os.environ.items() if key != "WANDB_MODE"}
    sent = subprocess.run(
        [sys.executable, "-m", wandb, *rest],
        capture_output=True,
        check=False,
        env=environment | server.environment(),
    )
    assert sent.returncode == 0, sent.stderr
    for path in logs:
        assert_whole(received(server, path), path)
    assert received(server, run_dir).variables["groupName"] == "tiny-shapes"
    # Logged and sent: nothing is left to do or to say, and W&B is not imported.
    files = [file.read_text(errors="replace") for file in tmp_path.rglob("*") if file.is_file()]
    assert KEY not in "".join(files)
    out = tmp_path / "again"
    again = start(out, *arguments, WANDB_MODE="offline", setup="import sys\nsys.modules['wandb'] = None\n")
    again.last_line()
    assert "W&B" not in out.read_text()


def test_a_picture_that_cannot_be_made_costs_only_itself(tmp_path):
    broken = (
        "import script_exp.cell.tracked as tracked\n"
        "def kept_overlay(*_):\n    raise RuntimeError('no ink')\n"
        "tracked.kept_overlay = kept_overlay\n"
    )
    ran = start(tmp_path / "out", *QUICK, "limit=2", f"outputs={tmp_path}", setup=broken)
    run_dir = Path(ran.last_line()["run_dir"])
    assert ran.text().count("W&B: no picture of sample ") == 2
    assert "RuntimeError: no ink" in (run_dir / "run.log").read_text()
    (file,) = run_dir.rglob("*.wandb")
    logged = read_wandb(file)
    assert logged.exit_code == 0
    assert logged.summary["samples.nrows"] == 2
    assert not [key for key in logged.summary if "kept_tokens" in key]


def test_long_names_are_shortened_and_stay_different(tmp_path):
    names = []
    for letter in "ab":
        long = f"{'long-checkpoint-name-' * 7}{letter}{'-of-mine' * 8}"
        tracker, folder = WandbTracker(), tmp_path / letter
        folder.mkdir()
        named = f"{long}-shapes-random-8-s0"
        tracker.start(TrackedRun(named, f"id-{letter}", long, [long, "random"], config={}, folder=folder))
        tracker.finish({"accuracy/value": 1.0})
        logged = read_wandb(next(folder.rglob("*.wandb")))
        assert len(logged.name) == len(logged.group) == 128
        assert logged.name.startswith("long-checkpoint-name-")
        assert logged.name.endswith("-of-mine-shapes-random-8-s0")
        assert {len(tag) for tag in logged.tags} == {64, 6}
        assert logged.exit_code == 0
        names += [logged.name, logged.group, *[tag for tag in logged.tags if len(tag) == 64]]
    assert len(set(names)) == 6


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("tracker.project=team/proj", "tracker.project=team/proj: expected a name of 1 to 128 characters"),
        ("tracker.project=", "tracker.project=: expected a name"),
        ("tracker.project=null", "tracker.project=None: expected a name"),
        (f"tracker.project={'x' * 129}", f"tracker.project={'x' * 129}: expected a name"),
        ("tracker.entity=me/mine", "tracker.entity=me/mine: expected a name"),
        ("tracker.wait_s=-1", "tracker.wait_s=-1: expected a number of seconds >= 0"),
        (
            "tracker.mode=online",
            "tracker.mode=online: expected a login for http://127.0.0.1:9: run wandb login",
        ),
    ],
)
def test_what_wandb_refuses_is_one_sentence_before_anything_is_loaded(tmp_path, setting, message):
    home = {"HOME": str(tmp_path), "NETRC": str(tmp_path / "none"), "WANDB_BASE_URL": "http://127.0.0.1:9"}
    process = run(*CELL, setting, f"outputs={tmp_path / 'outputs'}", **home)
    assert process.returncode == 2
    (error,) = process.stderr.splitlines()
    assert error.startswith(f"error: {message}")
    assert not (tmp_path / "outputs").exists()


def test_a_key_that_is_no_key_is_not_shown(tmp_path):
    environment = {"WANDB_API_KEY": "s3cret", "WANDB_BASE_URL": "http://127.0.0.1:9"}
    process = run(*ONLINE, f"outputs={tmp_path / 'outputs'}", **environment)
    assert process.returncode == 2
    (error,) = process.stderr.splitlines()
    assert error.startswith("error: tracker.mode=online: ")
    assert "WANDB_API_KEY" in error
    assert "s3cret" not in error


def test_a_login_in_netrc_is_one(server, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine {server.url.removeprefix('http://')} login user password {KEY}\n")
    netrc.chmod(0o600)
    environment = {"NETRC": str(netrc), "WANDB_BASE_URL": server.url}
    process = run(*PATIENT, "seed=7", "limit=1", f"outputs={tmp_path}", **environment)
    run_dir = Path(last_line(process)["run_dir"])
    assert_whole(received(server, run_dir), run_dir)


def test_an_error_inside_wandb_stops_the_tracking_and_is_said(offline, tmp_path):
    """Once the run is finished, the same command logs it."""
    broken = "import wandb\ndef init(**_):\n    raise wandb.Error('no\\nspace')\nwandb.init = init\n"
    arguments = [*QUICK, f"outputs={tmp_path}"]
    stopped = start(tmp_path / "out", *arguments, errors=tmp_path / "err", setup=broken)
    run_dir = Path(stopped.last_line()["run_dir"])
    assert result(run_dir) == result(offline[0])
    (line,) = [line for line in (tmp_path / "err").read_text().splitlines() if "W&B" in line]
    assert line.startswith("W&B: stopped tracking this run: Error: no space; ")
    assert line in (run_dir / "run.log").read_text()
    assert not list(tmp_path.rglob("*.wandb"))
    last_line(run(*arguments))
    assert read_wandb(next(run_dir.rglob("*.wandb"))).exit_code == 0
