"""``runners/score.py``: finished runs are scored again, or skipped with a reason."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import gqa_data
import pytest
import vqav2_data
from official import finished, run_benchmark, write_json, write_jsonl
from processes import ROOT, run
from sample_record import RECORD

from runners.score import main
from script_exp.benchmarks.vqav2 import Vqav2Val
from script_exp.results.read import load_runs
from script_exp.results.record import SCHEMA_VERSION, Cell, RunResult, Tokens
from script_exp.results.run_directory import REPLACED, RunDirectory, identity_hash

PREDICTIONS = dict(zip((row[0] for row in gqa_data.ROWS), gqa_data.PREDICTIONS, strict=True))


def score(*arguments):
    return run(*arguments, script="runners/score.py")


def result_of(run_dir):
    return json.loads((run_dir / "result.json").read_text())


def records_of(run_dir):
    return [json.loads(line) for line in (run_dir / "samples.jsonl").read_text().splitlines()]


def contents(run_dir):
    """Bytes and times of all files; the lock is not one."""
    files = [file for file in run_dir.rglob("*") if file.is_file() and file.name != ".lock"]
    return {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


def as_an_older_rule_had_it(run_dir, predictions):
    """Put in what a model said, scored by a rule that takes everything as it is and all of it as wrong."""
    records = [
        record | {"prediction": predictions[record["id"]], "answer": predictions[record["id"]], "score": 0.0}
        for record in records_of(run_dir)
    ]
    write_jsonl(run_dir / "samples.jsonl", records)
    result = result_of(run_dir)
    if result["accuracy"]:
        kinds = dict.fromkeys(result["accuracy"]["by_kind"], 0.0)
        result["accuracy"] |= {"value": 0.0, "ci95": [0.0, 0.0], "by_kind": kinds}
    write_json(run_dir / "result.json", result)


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A run of GQA and one of VQA v2's test-dev, with their data."""
    folder = tmp_path_factory.mktemp("origin")
    gqa_data.write_llava(folder / "data" / "gqa")
    vqav2_data.write_llava(folder / "data" / "vqav2")
    for name in ("gqa", "vqav2"):
        finished(run_benchmark(name, folder, f"data={folder / 'data'}"))
    return folder


@pytest.fixture
def place(origin, tmp_path):
    """A copy of the data and the runs."""
    shutil.copytree(origin, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def gqa(place):
    (run_dir,) = (place / "outputs" / "tiny" / "gqa").iterdir()
    return run_dir


@pytest.fixture
def vqav2(place):
    (run_dir,) = (place / "outputs" / "tiny" / "vqav2").iterdir()
    return run_dir


def test_the_same_rule_leaves_every_byte(place, gqa, vqav2):
    before = contents(place)
    process = score(place / "outputs", f"data={place / 'data'}")
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("unchanged") == 2
    assert contents(place) == before


def test_a_rule_that_was_fixed(place, gqa):
    as_an_older_rule_had_it(gqa, PREDICTIONS)
    before, old = contents(gqa), records_of(gqa)
    dry = score(gqa, f"data={place / 'data'}", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "would change  0.00 [0.0, 0.0]  80.00 [" in dry.stdout
    assert contents(gqa) == before

    process = score(gqa, f"data={place / 'data'}")
    assert process.returncode == 0, process.stderr
    assert "rescored  0.00 [0.0, 0.0]  80.00 [" in process.stdout
    result = result_of(gqa)
    # "The woman" is wrong; the image it is about has one of two right, the others have all
    assert result["accuracy"] == {
        "metric": "mean", "scale": 100, "value": 0.8, "n": 5, "ci95": result["accuracy"]["ci95"],
        "by_kind": {"choose": 1, "logical": 1, "query": 0.5, "verify": 1}, "partial": False, "skipped": 0,
    }  # fmt: skip
    low, high = result["accuracy"]["ci95"]
    assert 0 < low < 0.5  # few images, so that little is sure
    assert 0.8 < high <= 1
    (entry,) = result["rescored"]
    assert entry["accuracy_before"]["value"] == 0
    assert (entry["answers_changed"], entry["scores_changed"]) == (5, 4)
    assert entry["code"].keys() == {"script-exp", "git"}
    assert entry["time"] > "2026"
    records = records_of(gqa)
    assert [record["answer"] for record in records] == ["no", "the woman", "yes", "t-shirt", "plane"]
    assert [record["score"] for record in records] == [1, 0, 1, 1, 1]
    others = [{**one, "answer": 0, "score": 0} for one in records]
    assert others == [{**one, "answer": 0, "score": 0} for one in old]
    (row,) = load_runs(gqa).frame.to_dict("records")
    assert row["accuracy"] == 0.8

    after = contents(gqa)
    again = score(gqa, f"data={place / 'data'}")
    assert "unchanged" in again.stdout
    assert contents(gqa) == after


def test_the_submission_file(place, vqav2):
    as_an_older_rule_had_it(vqav2, vqav2_data.PREDICTIONS)
    process = score(vqav2, f"data={place / 'data'}")
    assert process.returncode == 0, process.stderr
    assert "rescored" in process.stdout
    assert json.loads((vqav2 / "submission.json").read_text()) == [
        {"question_id": 7, "answer": ""},
        {"question_id": 262148000, "answer": "at table"},
        {"question_id": 262148001, "answer": "logo"},
        {"question_id": 393225001, "answer": "2"},
        {"question_id": 393225002, "answer": "yes"},
    ]
    assert result_of(vqav2)["accuracy"] is None
    (vqav2 / "submission.json").unlink()
    score(vqav2, f"data={place / 'data'}")
    assert len(json.loads((vqav2 / "submission.json").read_text())) == 5


def lines(run_dir):
    return (run_dir / "samples.jsonl").read_text().splitlines(keepends=True)


def unfinished(run_dir):
    (run_dir / "result.json").unlink()


def unknown_id(run_dir):
    (run_dir / "samples.jsonl").write_text("".join([*lines(run_dir), json.dumps(vars(RECORD)) + "\n"]))


def missing_ids(run_dir):
    (run_dir / "samples.jsonl").write_text("".join(lines(run_dir)[1:3]))


def one_id_twice(run_dir):
    (run_dir / "samples.jsonl").write_text("".join(lines(run_dir) + lines(run_dir)[:1]))


def torn_line(run_dir):
    (run_dir / "samples.jsonl").write_text("".join(lines(run_dir))[:-20])


def no_answers(run_dir):
    (run_dir / "samples.jsonl").unlink()


def torn_result(run_dir):
    (run_dir / "result.json").write_text("{")


def identity(run_dir, **changes):
    parts = json.loads((run_dir / "identity.json").read_text()) | changes
    write_json(run_dir / "identity.json", parts)
    write_json(run_dir / "result.json", result_of(run_dir) | {"identity": identity_hash(parts)})


def other_prompts(run_dir):
    identity(run_dir, prompt_version=7)


def other_samples(run_dir):
    file = run_dir.parents[3] / "data" / "gqa" / "llava_gqa_testdev_balanced.jsonl"
    file.write_text(file.read_text().replace("overcast", "cloudy"))


def edited_config(run_dir):
    file = run_dir / "config.yaml"
    file.write_text(file.read_text().replace("protocol: llava", "protocol: lmms"))


def torn_config(run_dir):
    (run_dir / "config.yaml").write_text("{")


def edited_identity(run_dir):
    write_json(run_dir / "identity.json", {"prompt_version": 1})


def no_identity(run_dir):
    (run_dir / "identity.json").unlink()


def torn_list_of_skipped(run_dir):
    (run_dir / "skipped.jsonl").write_text("{\n")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (unfinished, "not finished: there is no result.json"),
        (unknown_id, "samples.jsonl, line 6: unknown sample 'a'"),
        (missing_ids, "samples.jsonl has no answer for 201307251, 20602949, 20602950;"),
        (one_id_twice, "samples.jsonl, line 6: duplicate sample '201307251'"),
        (torn_line, "samples.jsonl, line 5 is damaged"),
        (no_answers, "samples.jsonl is missing"),
        (torn_result, "result.json is damaged"),
        (other_prompts, "the run has prompt_version 7, but gqa now has 1; run it again"),
        (other_samples, "the samples differ: their fingerprint was b3d5f23d16516b11, now it is"),
        (edited_config, "identity.json differ in benchmark"),
        (torn_config, "config.yaml is damaged"),
        (edited_identity, "identity.json does not belong to result.json"),
        (no_identity, "identity.json is missing"),
        (torn_list_of_skipped, "skipped.jsonl is damaged"),
    ],
)
def test_a_run_is_left_alone(place, gqa, capsys, damage, message):
    damage(gqa)
    before = contents(gqa)
    assert main([str(gqa.parents[2]), f"data={place / 'data'}"]) == 1
    output = capsys.readouterr()
    (line,) = output.err.splitlines()
    assert line.startswith(f"skipped: {gqa}: ")
    assert message in line
    assert output.out.count("unchanged") == 1  # the other run is scored all the same
    assert contents(gqa) == before


def test_a_busy_run_is_left_alone(place, gqa):
    with RunDirectory(gqa):
        process = score(gqa, f"data={place / 'data'}")
    assert process.returncode == 1
    assert "is running it" in process.stderr


def test_data_that_has_moved(origin, place, gqa, capsys):
    moved = (place / "data").rename(place / "moved")
    elsewhere = f"benchmark.data={place / 'data' / 'gqa'}"
    assert main([str(gqa), elsewhere]) == 1
    assert f"{elsewhere}: expected a folder with" in capsys.readouterr().err
    for setting in (f"data={moved}", f"benchmark.data={moved / 'gqa'}"):
        assert main([str(gqa), setting]) == 0
        assert "unchanged" in capsys.readouterr().out


def test_several_runs(place, gqa, vqav2, capsys):
    """Also beside shards, which are no runs, and a run that was set aside."""
    data = f"data={place / 'data'}"
    with RunDirectory(gqa).shard(0, 2) as shard:
        shard.set_status("finished")
    shutil.copytree(gqa, place / "outputs" / REPLACED / "tiny" / f"{gqa.name}.1")
    for words, count in [
        ([str(gqa), str(vqav2)], 2),
        ([str(gqa), str(gqa.parent), str(gqa)], 1),
        ([str(place / "outputs" / "*" / "g*" / "*")], 1),
        ([str(place / "outputs"), "--dry-run"], 2),
        ([str(place / "outputs" / REPLACED / "tiny" / "*")], 1),
    ]:
        assert main([*words, data]) == 0
        assert capsys.readouterr().out.count("unchanged") == count


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere: expected a run directory, a folder of runs"),
        (["conf"], "conf: expected a run directory"),
        (["outputs/*/nowhere"], "outputs/*/nowhere: expected a run directory"),
        (["conf", "budget=3"], "budget=3: expected data=FOLDER or benchmark.KEY=VALUE"),
        (["conf", "data="], "data=: expected data=FOLDER"),
        (["conf", "benchmark.judge={"], "benchmark.judge={: "),
    ],
)
def test_mistakes_in_the_command(capsys, monkeypatch, words, message):
    monkeypatch.chdir(ROOT)
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {message}")


@pytest.mark.parametrize("setting", ["protocol=lmms", "on_error=skip", "nonsense=1", "_target_=a.B"])
def test_settings_that_change_predictions(place, gqa, capsys, setting):
    assert main([str(gqa), f"data={place / 'data'}", f"benchmark.{setting}"]) == 1
    expected = "expected one of benchmark.check_count, benchmark.data; a changed prompt needs a new run"
    assert f"benchmark.{setting}: {expected}" in capsys.readouterr().err


def test_limited_and_skipped_samples(tmp_path, capsys):
    folder = gqa_data.write_llava(tmp_path / "data" / "gqa")
    (folder / "data" / "images" / "n161313.jpg").unlink()
    arguments = [f"data={tmp_path / 'data'}", "benchmark.on_error=skip", "limit=4"]
    run_dir, _, _ = finished(run_benchmark("gqa", tmp_path, *arguments))
    assert main([str(run_dir)]) == 0
    assert "unchanged" in capsys.readouterr().out
    as_an_older_rule_had_it(run_dir, PREDICTIONS)
    assert main([str(run_dir)]) == 0
    accuracy = result_of(run_dir)["accuracy"]
    assert (accuracy["value"], accuracy["n"], accuracy["skipped"], accuracy["partial"]) == (1, 2, 2, True)


def test_random_weights_have_nothing_to_score(place, gqa, capsys):
    (gqa / "samples.jsonl").unlink()  # such a run has none
    result = result_of(gqa)
    result["provenance"][-1]["weights"] = "random"
    write_json(gqa / "result.json", result | {"accuracy": None})
    before = contents(gqa)
    assert main([str(gqa)]) == 0
    assert "random weights" in capsys.readouterr().out
    assert contents(gqa) == before


JUDGED = '''
from __future__ import annotations
import os
from dataclasses import dataclass
from typing import Any, ClassVar
from script_exp.benchmarks.gqa import Gqa

@dataclass(kw_only=True)
class Judged(Gqa):
    """GQA whose answers a judge scores, if there is one; its rule is the environment's."""

    judge: dict[str, Any] | None = None
    scoring_settings: ClassVar[frozenset[str]] = frozenset({"judge"})
    rule_version: ClassVar[int] = int(os.environ.get("RULE", "1"))

    @property
    def is_scored(self) -> bool:
        return self.judge is not None

    def parse(self, sample, prediction):
        return f"rule {self.rule_version}"

    def score(self, sample, answer):
        return self.judge["points"] if self.judge else 0.0
'''


@pytest.fixture
def judged(tmp_path, monkeypatch):
    """Runs the benchmark above; returns the finished process."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "judged.py").write_text(JUDGED)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'code'}:{ROOT}")
    gqa_data.write_llava(tmp_path / "data" / "gqa")
    arguments = ["benchmark._target_=judged.Judged", "+benchmark.judge=null", f"data={tmp_path / 'data'}"]
    return lambda *more: run_benchmark("gqa", tmp_path, *arguments, *more)


@pytest.mark.slow
def test_a_judge_can_come_later(judged, tmp_path):
    run_dir, result, _ = finished(judged())
    assert result["accuracy"] is None
    process = score(run_dir, "benchmark.judge.points=0.25")
    assert process.returncode == 0, process.stderr
    low, high = (100 * end for end in result_of(run_dir)["accuracy"]["ci95"])
    words = " ".join(process.stdout.split())
    assert f"rescored - 25.00 [{low:.1f}, {high:.1f}] 0 5" in words
    (entry,) = result_of(run_dir)["rescored"]
    assert entry["settings"] == {"judge": {"points": 0.25}}
    # the judge stays, when something else is scored again and when the latency is added
    assert "unchanged" in score(run_dir).stdout
    _, result, _ = finished(judged("latency=on"))
    assert result["latency"]
    assert result["accuracy"]["value"] == 0.25
    assert result["rescored"] == [entry]


@pytest.mark.slow
def test_a_new_rule_is_told_and_never_mixed(judged, tmp_path, monkeypatch):
    run_dir, result, _ = finished(judged())
    assert result["rule_version"] == 1
    monkeypatch.setenv("RULE", "2")
    process = judged()
    assert finished(process)[0] == run_dir
    assert f"scored by an earlier rule; update it with python runners/score.py {run_dir}" in process.stderr
    # a half-done run goes on under the new rule
    shutil.copytree(run_dir, tmp_path / "kept")
    (run_dir / "result.json").unlink()
    (run_dir / "samples.jsonl").write_text("".join(lines(run_dir)[:2]))
    _, result, records = finished(judged())
    assert result["rule_version"] == 2
    assert [(record["answer"], record["rule"]) for record in records] == [("rule 2", 2)] * 5
    # a finished one is brought up to it
    assert score(tmp_path / "kept").returncode == 0
    assert [one["answer"] for one in records_of(tmp_path / "kept")] == ["rule 2"] * 5
    result = result_of(tmp_path / "kept")
    assert result["rule_version"] == 2
    assert result["rescored"][0]["rule_version_before"] == 1


def write_vqav2(folder, images, asked):
    """Validation questions, ``asked`` about each image."""
    numbers = [image * 1000 + turn for image in range(images) for turn in range(asked)]
    questions = [
        {"image_id": number // 1000, "question": f"What is {number}?", "question_id": number}
        for number in numbers
    ]
    write_json(folder / "v2_OpenEnded_mscoco_val2014_questions.json", {"questions": questions})
    annotations = [
        {
            "question_id": number, "answer_type": "other",
            "answers": [{"answer": f"The {number} cats"}] * 7 + [{"answer": "don't"}] * 3,
        }
        for number in numbers
    ]  # fmt: skip
    write_json(folder / "v2_mscoco_val2014_annotations.json", {"annotations": annotations})


def write_run(path, benchmark, config):
    """A finished run whose every other answer is right, before anything was parsed or scored."""
    identified_by = {
        "benchmark": {key: value for key, value in config.items() if key not in ("data", "check_count")},
        "limit": None, "prompt_version": benchmark.prompt_version, "samples": benchmark.fingerprint(),
    }  # fmt: skip
    records = [
        replace(
            RECORD, id=sample.id, kind=sample.kind, unit=sample.unit, references=list(sample.references),
            prediction=sample.references[0] if turn % 2 else "Dogs?", answer="", score=0.0,
        )
        for turn, sample in enumerate(benchmark.samples())
    ]  # fmt: skip
    result = RunResult(
        schema_version=SCHEMA_VERSION, status="finished", identity=identity_hash(identified_by),
        unpruned_identity="",
        cell=Cell("tiny", "vqav2_val", "random", 64, 0, "", {}, {}, benchmark.prompt_version, 1, None),
        accuracy=None,
        tokens=Tokens(576, 576, 0, 1, 1, 64, 64, 64), flops={}, kv_cache_bytes=0, latency=None,
        peak_memory_bytes=None, provenance=[{"weights": "pretrained"}],
    )  # fmt: skip
    with RunDirectory(path) as directory:
        directory.start(json.dumps({"benchmark": config}), identified_by, {})
        directory.append(records)
        directory.finish(result)


@pytest.mark.slow
def test_a_hundred_thousand_answers(tmp_path, capsys):
    folder = tmp_path / "vqav2"
    write_vqav2(folder, images=20_000, asked=5)
    config = {
        "_target_": "script_exp.benchmarks.vqav2.Vqav2Val", "name": "vqav2_val", "data": str(folder),
        "protocol": "llava", "on_error": "raise", "check_count": False,
    }  # fmt: skip
    write_run(tmp_path / "run", Vqav2Val(data=str(folder), check_count=False), config)
    assert main([str(tmp_path / "run")]) == 0
    assert "100,000" in capsys.readouterr().out
    assert result_of(tmp_path / "run")["accuracy"]["value"] == 0.5
