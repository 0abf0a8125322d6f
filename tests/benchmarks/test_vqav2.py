"""VQA v2: soft accuracy on validation, the submission file of test-dev."""

from __future__ import annotations

import json

import pytest
from official import SHORT, finished, predicted, run_benchmark, scores, write_json, write_jsonl
from vqav2_data import PREDICTIONS, ROWS, write_hub, write_llava, write_official

from script_exp.benchmarks.vqav2 import Vqav2, Vqav2Val
from script_exp.errors import UserError

# 3 of 10 said "at table" and "2", 2 of 10 "logo"
SCORES = {"262148000": 0.9, "262148001": 0.6, "393225001": 0.9, "393225002": 1}


@pytest.fixture(params=[write_official, write_hub])
def folder(request, tmp_path):
    return request.param(tmp_path / "data" / "vqav2")


def test_validation(folder):
    benchmark = Vqav2Val(data=str(folder), check_count=False)
    samples = benchmark.samples()
    assert [(int(s.id), int(s.unit), s.question, s.kind, list(s.references)) for s in samples] == ROWS
    assert all(s.prompt == s.question + SHORT for s in samples)
    assert samples[0].visual().size == (40, 30)
    assert scores(benchmark, PREDICTIONS) == pytest.approx(SCORES)
    assert benchmark.submission([]) is None


def test_a_question_without_annotation(tmp_path):
    file = write_official(tmp_path) / "v2_mscoco_val2014_annotations.json"
    content = json.loads(file.read_text())
    write_json(file, {"annotations": content["annotations"][1:]})
    with pytest.raises(
        UserError, match=r"questions.json, entry 3: question 393225002 is not in .*annotations.json"
    ):
        Vqav2Val(data=str(tmp_path), check_count=False).samples()
    write_json(file, [])
    with pytest.raises(UserError, match=r"annotations.json: expected an object with 'annotations'"):
        Vqav2Val(data=str(tmp_path), check_count=False).samples()


def test_the_submission_has_the_whole_test_set(tmp_path):
    benchmark = Vqav2(data=str(write_llava(tmp_path)), check_count=False)
    assert [s.id for s in benchmark.samples()] == [str(row[0]) for row in ROWS]
    name, contents = benchmark.submission(predicted(benchmark, PREDICTIONS))
    assert name == "submission.json"
    assert json.loads(contents) == [
        {"question_id": 7, "answer": ""},
        {"question_id": 262148000, "answer": "at table"},
        {"question_id": 262148001, "answer": "logo"},
        {"question_id": 393225001, "answer": "2"},
        {"question_id": 393225002, "answer": "yes"},
    ]


def test_test_dev_has_to_be_in_the_test_set(tmp_path):
    write_llava(tmp_path)
    with pytest.raises(UserError, match=r"test2015.jsonl: 5 questions, but the official file has 447793"):
        Vqav2(data=str(tmp_path)).samples()
    write_jsonl(tmp_path / "llava_vqav2_mscoco_test2015.jsonl", [{"question_id": 262148000}])
    with pytest.raises(UserError, match=r"dev2015.jsonl, line 2: question 262148001 is not in"):
        Vqav2(data=str(tmp_path), check_count=False).samples()


def test_end_to_end_validation(tmp_path, folder):
    _, result, records = finished(run_benchmark("vqav2_val", tmp_path, f"data={folder.parent}"))
    assert len(records) == result["accuracy"]["n"] == 4
    assert result["accuracy"]["by_kind"].keys() == {"other", "number", "yes/no"}


@pytest.mark.parametrize("write", [write_llava, lambda folder: write_hub(folder, "testdev")])
def test_end_to_end_test_dev(tmp_path, write):
    write(tmp_path / "data" / "vqav2")
    process = run_benchmark("vqav2", tmp_path, f"data={tmp_path / 'data'}")
    run_dir, result, records = finished(process)
    assert result["accuracy"] is None
    assert "a server scores the submission file" in process.stdout
    submission = {
        entry["question_id"]: entry["answer"]
        for entry in json.loads((run_dir / "submission.json").read_text())
    }
    assert {int(record["id"]): record["answer"] for record in records}.items() <= submission.items()
