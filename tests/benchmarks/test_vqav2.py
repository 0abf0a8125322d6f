"""VQA v2: soft accuracy on validation, the submission file of test-dev."""

from __future__ import annotations

import json

import pytest
from official import (
    SHORT,
    cell,
    finished,
    predicted,
    run_benchmark,
    scores,
    write_json,
    write_jsonl,
    write_parquet,
    write_picture,
)

from script_exp.benchmarks.vqav2 import Vqav2, Vqav2Val
from script_exp.errors import UserError

ROWS = [  # question id, image id, question, answer type, answers
    (
        262148000,
        262148,
        "Where is he looking?",
        "other",
        ["down"] * 4 + ["at table"] * 3 + ["skateboard"] * 3,
    ),
    (262148001, 262148, "What is on the T-shirt?", "other", ["the logo"] * 2 + ["nike's"] * 8),
    (393225001, 393225, "How many are there?", "number", ["two"] * 1 + ["2"] * 2 + ["3"] * 7),
    (393225002, 393225, "Is it sunny?", "yes/no", ["yes"] * 10),
]
PREDICTIONS = {"262148000": "At the table.", "262148001": "Logo", "393225001": "Two.", "393225002": "Yes"}
# 3 of 10 said "at table" and "2", 2 of 10 "logo"
SCORES = {"262148000": 0.9, "262148001": 0.6, "393225001": 0.9, "393225002": 1}


def answers(texts):
    return [
        {"answer": text, "answer_confidence": "yes", "answer_id": turn}
        for turn, text in enumerate(texts, start=1)
    ]


def write_official(folder):
    questions = [
        {"image_id": image, "question": text, "question_id": number} for number, image, text, _, _ in ROWS
    ]
    write_json(
        folder / "v2_OpenEnded_mscoco_val2014_questions.json",
        {"info": {}, "task_type": "Open-Ended", "data_type": "mscoco", "license": {}, "questions": questions},
    )
    annotations = [
        {
            "question_type": "what", "multiple_choice_answer": texts[-1], "answers": answers(texts),
            "image_id": image, "answer_type": kind, "question_id": number,
        }
        for number, image, _, kind, texts in ROWS[::-1]
    ]  # fmt: skip
    write_json(folder / "v2_mscoco_val2014_annotations.json", {"info": {}, "annotations": annotations})
    for image in {row[1] for row in ROWS}:
        write_picture(folder / "val2014" / f"COCO_val2014_{image:012d}.jpg")
    return folder


def write_hub(folder, split="validation"):
    rows = [
        {
            "question_type": "what", "multiple_choice_answer": texts[-1] if split == "validation" else None,
            "answers": answers(texts) if split == "validation" else None, "image_id": image,
            "answer_type": kind, "question_id": number, "question": text, "image": cell(str(image)),
        }
        for number, image, text, kind, texts in ROWS
    ]  # fmt: skip
    write_parquet(folder / "data" / f"{split}-00000-of-00001.parquet", rows)
    return folder


def write_llava(folder):
    lines = [
        {
            "question_id": number,
            "image": f"COCO_test2015_{image:012d}.jpg",
            "text": text + SHORT,
            "category": "default",
        }
        for number, image, text, _, _ in ROWS
    ]
    write_jsonl(folder / "llava_vqav2_mscoco_test-dev2015.jsonl", lines)
    write_jsonl(folder / "llava_vqav2_mscoco_test2015.jsonl", [lines[0] | {"question_id": 7}, *lines])
    for line in lines:
        write_picture(folder / "test2015" / line["image"])
    return folder


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
    with pytest.raises(UserError, match=r"questions.json, question 393225002 is not in .*annotations.json"):
        Vqav2Val(data=str(tmp_path), check_count=False).samples()
    write_json(file, [])
    with pytest.raises(UserError, match=r"annotations.json: expected a JSON object"):
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
