"""The runner, called as by a user: a process, its output, its exit code, and its files."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import commands
import pandas as pd
import pytest
from processes import last_line, run, start
from wandb_log import read_wandb

from script_exp.benchmarks.shapes import Shapes
from script_exp.config.settings import PROTOCOL_VERSION
from script_exp.results.read import COLUMNS, load_runs
from script_exp.results.read_wandb import load_wandb
from script_exp.results.run_directory import RunDirectory
from script_exp.sweeps.record import SweepRecord

QUICK = ["benchmark.scenes=2", "limit=6", "latency=off", "unpruned=off"]


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """One run with latency and with the unpruned one beside it, logged to W&B offline."""
    outputs = tmp_path_factory.mktemp("outputs")
    process = run("benchmark.scenes=2", "limit=10", "tracker.mode=offline", f"outputs={outputs}")
    return outputs, process


def test_the_output(first):
    outputs, process = first
    line = last_line(process)
    assert line.keys() == {"run_dir", "accuracy", "tokens_kept", "llm_prefill_ms"}
    assert line["tokens_kept"] == 64
    assert Path(line["run_dir"]).parent == outputs / "tiny" / "shapes"
    for text in (
        "config",
        "pruner",
        "threshold: 0.2",
        "unpruned",
        "script @ 64",
        "partial: limit is set",
        "576",
    ):
        assert text in process.stdout
    assert "accuracy" in process.stderr  # the progress bar


def test_the_run_directory(first):
    run_dir = Path(last_line(first[1])["run_dir"])
    result = json.loads((run_dir / "result.json").read_text())
    assert result["status"] == "finished"
    assert result["cell"] == {
        "model": "tiny", "benchmark": "shapes", "pruner": "script", "budget": 64, "seed": 0, "variant": "",
        "pruner_settings": {
            "graph.threshold": 0.2, "graph.gamma": 1.0, "query.sign": None, "query.relevance_range": "crop",
            "query.normalize": True, "graph_keep": 0.5, "walk": 2.0, "padding": "dpp",
        },
        "benchmark_settings": {"scenes": 2, "scene_seed": 20264}, "prompt_version": Shapes.prompt_version,
        "protocol_version": PROTOCOL_VERSION, "limit": 10, "query_text": "bare",
    }  # fmt: skip
    records = [json.loads(line) for line in (run_dir / "samples.jsonl").read_text().splitlines()]
    assert len(records) == len({record["id"] for record in records}) == result["accuracy"]["n"] == 10
    assert result["accuracy"]["value"] == pytest.approx(sum(r["score"] for r in records) / 10)
    assert all(record["kept"] == 64 and record["visual"] == 576 for record in records)
    assert result["tokens"] == {
        "visual": 576, "separators": 0, "crops": 1, "budget_crops": 1, "offered": 576, "requested": 64,
        "kept": 64, "layer_average": 64,
    }  # fmt: skip
    assert sum(result["flops"]["stages"].values()) == pytest.approx(result["flops"]["prefill_total"])
    assert result["flops"]["stages"]["pruner"] > 0
    latency = result["latency"]
    assert latency["llm_prefill_speedup"] == pytest.approx(
        latency["unpruned"]["llm_prefill_ms"] / latency["llm_prefill_ms"]
    )
    assert latency["stages"].keys() == {
        "preprocess", "vision", "query_encoder", "pruner", "llm", "decode_per_token",
    }  # fmt: skip
    assert [session["checkpoint"] for session in result["provenance"]] == ["embedded"]
    assert result["provenance"][0]["packages"]["torch"]
    assert result["peak_memory_bytes"] > result["kv_cache_bytes"]
    assert result["identity"] == run_dir.name.rsplit("-", 1)[1]
    assert list(run_dir.parent.glob(f"none-s0-{result['unpruned_identity']}"))
    assert json.loads((run_dir / "status.json").read_text())["state"] == "finished"
    assert "threshold: 0.2" in (run_dir / "config.yaml").read_text()
    assert "0 of 10 samples already answered" in (run_dir / "run.log").read_text()


def test_wandb_offline_holds_what_was_logged(first):
    run_dir = Path(last_line(first[1])["run_dir"])
    result = json.loads((run_dir / "result.json").read_text())
    logged = read_wandb(next(run_dir.rglob("*.wandb")))
    assert logged.name == "tiny-shapes-script-64-s0"
    assert logged.group == "tiny-shapes"
    assert set(logged.tags) == {"tiny", "shapes", "script"}
    assert logged.config["pruner"]["graph"]["threshold"] == 0.2
    assert logged.summary["accuracy/value"] == pytest.approx(result["accuracy"]["value"])
    unpruned = json.loads(
        (run_dir.with_name(f"none-s0-{result['unpruned_identity']}") / "result.json").read_text()
    )
    retained = result["accuracy"]["value"] / unpruned["accuracy"]["value"]
    assert logged.summary["accuracy/retained"] == pytest.approx(retained)
    assert {f"accuracy_by_kind/{kind}" for kind in result["accuracy"]["by_kind"]} <= logged.summary.keys()
    assert logged.summary["flops/prefill_total"] == result["flops"]["prefill_total"]
    assert logged.summary["tokens/kept"] == 64
    assert logged.summary["latency/llm_prefill_ms"] == pytest.approx(result["latency"]["llm_prefill_ms"])
    assert logged.history[-1]["accuracy/running"] == pytest.approx(result["accuracy"]["value"])
    assert logged.exit_code == 0


def test_a_wandb_project_gives_the_same_table_of_runs(first):
    outputs, _ = first
    logged = [(path.parent.name, read_wandb(path)) for path in sorted(outputs.rglob("*.wandb"))]
    runs = [SimpleNamespace(id=name, state="finished", summary=log.summary) for name, log in logged]
    api = SimpleNamespace(runs=lambda project: runs if project == "me/mine" else [])
    expected = load_runs(outputs).frame
    read = load_wandb("me/mine", api)
    assert len(read.frame) == len(expected) == 2
    assert read.problems == []
    own = [name for name in COLUMNS if name not in ("place", "run_dir")]
    pd.testing.assert_frame_equal(
        read.frame[own].sort_values("identity", ignore_index=True),
        expected[own].sort_values("identity", ignore_index=True),
    )
    assert read.frame["run_dir"].isna().all()


def test_the_same_command_finds_it_finished(first):
    outputs, process = first
    run_dir = Path(last_line(process)["run_dir"])
    before = {file: file.stat().st_mtime_ns for file in run_dir.glob("*.json*")}
    again = run("benchmark.scenes=2", "limit=10", "tracker=none", f"outputs={outputs}")
    assert last_line(again) == last_line(process)
    assert {file: file.stat().st_mtime_ns for file in run_dir.glob("*.json*")} == before
    assert "━" not in again.stderr  # no progress bar: nothing ran
    assert "already finished" in again.stderr


def test_a_run_that_was_cut_off_goes_on(first, tmp_path):
    """The same predictions as without the interruption, and the answered samples are not run again."""
    whole = Path(last_line(run(*QUICK, f"outputs={tmp_path / 'a'}"))["run_dir"])
    other = tmp_path / "b" / whole.relative_to(tmp_path / "a")
    other.mkdir(parents=True)
    lines = (whole / "samples.jsonl").read_text().splitlines(keepends=True)
    (other / "samples.jsonl").write_text("".join(lines[:2]) + lines[2][:20])
    assert Path(last_line(run(*QUICK, f"outputs={tmp_path / 'b'}"))["run_dir"]) == other
    resumed = (other / "samples.jsonl").read_text().splitlines(keepends=True)
    assert resumed[:2] == lines[:2]
    assert commands.answers(other) == commands.answers(whole)
    assert "2 of 6 samples already answered" in (other / "run.log").read_text()
    assert len(json.loads((other / "provenance.json").read_text())) == 1
    assert commands.result(other) == commands.result(whole)


def test_latency_can_be_added_later(tmp_path):
    """A run that was finished without latency gets it, without answering anything again."""
    arguments = ["benchmark.scenes=1", "limit=3", "unpruned=off", "pruner=random", f"outputs={tmp_path}"]
    run_dir = Path(last_line(run(*arguments, "latency=off"))["run_dir"])
    answers = (run_dir / "samples.jsonl").read_bytes()
    line = last_line(run(*arguments))
    assert line["run_dir"] == str(run_dir)
    assert line["llm_prefill_ms"] > 0
    assert (run_dir / "samples.jsonl").read_bytes() == answers
    assert json.loads((run_dir / "result.json").read_text())["latency"]["repeats"] > 0


@pytest.mark.parametrize(
    ("keep", "message"), [(None, "samples.jsonl is missing"), (1, "samples.jsonl has no answer for ")]
)
def test_latency_is_not_added_to_a_run_that_lost_answers(tmp_path, keep, message):
    arguments = ["benchmark.scenes=1", "limit=3", "unpruned=off", "pruner=random", f"outputs={tmp_path}"]
    run_dir = Path(last_line(run(*arguments, "latency=off"))["run_dir"])
    result, samples = (run_dir / name for name in ("result.json", "samples.jsonl"))
    before = result.read_bytes()
    lines = samples.read_text().splitlines(keepends=True)
    samples.unlink()
    if keep:
        samples.write_text("".join(lines[:keep]))
    process = run(*arguments)
    assert process.returncode == 2
    assert message in process.stderr.splitlines()[-1]
    assert result.read_bytes() == before


def test_an_interrupted_run_says_why(tmp_path):
    process = start(tmp_path / "errors", "latency=off", "unpruned=off", f"outputs={tmp_path}")
    run_dir = commands.wait_until(lambda: commands.answered(tmp_path, 0))
    os.kill(process.process.pid, signal.SIGINT)
    assert process.wait() == 130
    errors = process.text()
    assert errors.splitlines()[-1] == "interrupted; repeat the command to resume"
    assert "Traceback" not in errors
    status = json.loads((run_dir / "status.json").read_text())
    assert status["state"] == "interrupted"
    assert "KeyboardInterrupt" in status["why"]
    assert not (run_dir / "result.json").exists()


def test_a_sweep(tmp_path):
    arguments = ["budget=64,0.05", f"outputs={tmp_path}"]
    process = run("pruner=none,random,fastv", "-m", *QUICK, *arguments)
    assert process.returncode == 0, process.stderr
    runs = sorted(path.name.rsplit("-", 1)[0] for path in (tmp_path / "tiny" / "shapes").iterdir())
    assert runs == ["fastv-0.05-s0", "fastv-64-s0", "none-s0", "random-0.05-s0", "random-64-s0"]
    (sweep,) = (tmp_path / "sweeps").iterdir()
    group = SweepRecord(sweep).group
    for run_dir in (tmp_path / "tiny" / "shapes").iterdir():
        assert f"group: {group}\n" in (run_dir / "config.yaml").read_text().replace("'", "")
        assert "0 of 6 samples already answered" in (run_dir / "run.log").read_text()
    table = run(tmp_path, "--figures", "off", script="analysis/make.py")
    assert table.returncode == 0, table.stderr
    accuracy = (tmp_path / "analysis" / "tables" / "accuracy.md").read_text()
    assert "only the first 6 samples" in accuracy
    assert "| *5 % of the tokens, 95.0 % removed* |" in accuracy
    assert "| random | 29 |" in accuracy


def test_one_bad_cell_does_not_stop_a_sweep(tmp_path):
    process = run("-m", *QUICK, "pruner=random", "budget=600,64", f"outputs={tmp_path}")
    assert process.returncode == 1
    assert "error: budget=600: expected at most 576" in process.stderr
    assert len(list(tmp_path.rglob("result.json"))) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pruner=scirpt"], "pruner=scirpt: expected one of .* (did you mean script"),
        (["benchmark=shape"], "benchmark=shape: expected one of .* (did you mean shapes"),
        (["model=tinny"], "model=tinny: expected one of .* (did you mean tiny"),
        (["pruner=graph", "pruner.graph.gamma=2"], "pruner.graph.gamma=2: expected one of the keys"),
        (["bugdet=64"], "bugdet=64: expected one of the keys .* (did you mean budget?"),
        (["-m", "pruner.walkk=1,2"], "pruner.walkk=1,2: expected one of the keys .* (did you mean walk?"),
        (["pruner=random,trimm", "-m"], "pruner=trimm: expected one of .* (did you mean trim"),
        (["budget=0"], "budget=0: expected a whole number"),
        (["budget=577"], "budget=577: expected at most 576"),
        (["budget=-1"], "budget=-1: expected a whole number"),
        (["budget=many"], "budget=many: expected a whole number"),
        (["budget=1.5"], "budget=1.5: expected .* a share in (0, 1)"),
        (["budget=0.0"], "budget=0.0: expected .* a share in (0, 1)"),
        (["pruner.graph.threshold=2"], "pruner.graph.threshold=2: expected a cosine similarity in [-1, 1]"),
        (["pruner=fastv", "pruner.layer=4"], "pruner.layer=4: expected a decoder layer from 1 to 3"),
        (["pruner=fastv", "pruner.budget_as=average"], "budget=64: expected at least 145 as an average"),
        (["-m", "budget=64,0"], "budget=0: expected a whole number"),
        (["model.relevance_sign=0"], "model.relevance_sign=0: expected one of 1, -1"),
        (["device=null"], "device=None: expected auto, cpu"),
        (["device=meta"], "device=meta: expected auto, cpu"),
        (["tracker=wandb", "tracker.mode=cloud"], "tracker.mode=cloud: expected one of offline, online"),
        (["model.path=/nowhere"], "model.path=/nowhere: expected a folder with a checkpoint, or the hub id"),
        (["benchmark.scenes=0"], "benchmark.scenes=0: expected"),
        (["batch_size=1.5"], "batch_size=1.5: expected a whole number >= 1"),
        (["dtype=int8"], "dtype=int8: expected one of auto"),
        (["latency=maybe"], "latency=maybe: expected one of on, off"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(tmp_path, arguments, message):
    process = run(*arguments, f"outputs={tmp_path / 'outputs'}")
    assert process.returncode == 2, process.stderr
    errors = process.stderr.splitlines()
    assert len(errors) == 1
    first, *rest = message.split(" .* ")
    assert errors[0].startswith(f"error: {first}")
    for part in rest:
        assert part in errors[0]
    assert not (tmp_path / "outputs").exists()


def test_weights_that_are_missing(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llava"}')
    process = run(f"model.path={tmp_path}", f"outputs={tmp_path / 'outputs'}")
    assert process.returncode == 2
    assert "no weights in" in process.stderr
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [('{"schema_version": 5', "is damaged"), ('{"schema_version": 5, "cell": {}}', "it lacks"),
     ('{"schema_version": 0}', "has schema version 0; expected 5")],
)  # fmt: skip
def test_a_damaged_result_is_found_before_anything_runs(tmp_path, content, message):
    arguments = ["benchmark.scenes=1", "limit=2", "latency=off", "pruner=random", f"outputs={tmp_path}"]
    run_dir = Path(last_line(run(*arguments, "unpruned=off"))["run_dir"])
    (run_dir / "result.json").write_text(content)
    process = run(*arguments, "unpruned=run")
    assert process.returncode == 2
    assert message in process.stderr
    assert not list(run_dir.parent.glob("none-*"))
    table = run(tmp_path, script="analysis/make.py")
    assert table.returncode == 2
    assert "left out" in table.stderr


@pytest.mark.parametrize("options", [[], ["-m"]])
@pytest.mark.parametrize("place", ["file", "/proc/outputs"])
def test_an_output_folder_that_cannot_be_written(tmp_path, options, place):
    (tmp_path / "file").touch()
    process = run(*options, *QUICK, f"outputs={tmp_path / place}")
    assert process.returncode == 2
    assert len(process.stderr.splitlines()) == 1
    assert "expected a writable folder" in process.stderr


@pytest.mark.parametrize("options", [[], ["-m", "budget=64,32"]], ids=["run", "sweep"])
def test_the_usual_output_folder_cannot_be_written(tmp_path, options):
    (tmp_path / "outputs").touch()
    elsewhere = f"import os; os.chdir({str(tmp_path)!r})"
    started = start(tmp_path / "printed", *options, *QUICK, setup=elsewhere)
    assert started.wait() == 2
    (line,) = started.text().splitlines()
    assert line.startswith("error: outputs=outputs: ")


def test_a_baseline_that_another_process_runs_is_left_alone(tmp_path):
    whole = Path(last_line(run(*QUICK, "pruner=none", f"outputs={tmp_path}"))["run_dir"])
    (whole / "result.json").unlink()
    with RunDirectory(whole):
        process = run("benchmark.scenes=2", "limit=6", "latency=off", "pruner=random", f"outputs={tmp_path}")
    assert last_line(process)["tokens_kept"] == 64
    assert "continuing without the unpruned run" in process.stderr
    assert "is running it" in process.stderr


def test_help_names_groups_and_keys():
    process = run("--help")
    assert process.returncode == 0
    for text in ("pruner: apet, cdpruner, composed", "budget: 64", "python runners/run.py -m"):
        assert text in process.stdout


def test_a_launcher_of_sweeps_needs_a_sweep(tmp_path):
    outputs = tmp_path / "outputs"
    process = run("pruner=random", "hydra/launcher=local_processes", "limit=1", f"outputs={outputs}")
    assert process.returncode == 2
    assert "hydra/launcher=local_processes: expected it with -m" in process.stderr
    assert not outputs.exists()
