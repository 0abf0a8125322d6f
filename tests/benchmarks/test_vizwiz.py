"""VizWiz: prompts, soft accuracy, the submission file of the test split."""

from __future__ import annotations

import json

import pytest
from official import (
    SHORT,
    cell,
    finished,
    run_benchmark,
    scores,
    write_json,
    write_jsonl,
    write_parquet,
    write_picture,
)

from script_exp.benchmarks.vizwiz import VizWiz, VizWizTest
from script_exp.errors import UserError

HINT = "\nWhen the provided information is insufficient, respond with 'Unanswerable'."
ROWS = [  # question, type, answers
    (
        "Ok. There is another picture I hope it is a better one.",
        "unanswerable",
        ["unanswerable"] * 9 + ["no"],
    ),
    ("what is this?", "other", ["Basil"] * 10),
    ("is this a DOLLAR?", "yes/no", ["yes"] * 2 + ["Yes!"] + ["1 dollar"] * 7),
    ("What is this? And what...", "other", ["cant tell"] * 10),
]
ASKED = [
    "Ok. there is another picture i hope it is a better one.", "What is this?", "Is this a dollar?",
    "What is this? and what...",
]  # fmt: skip
PREDICTIONS = ["Unanswerable", "basil", "Yes", "can't tell"]


def name(turn, split="val"):
    return f"VizWiz_{split}_{turn:08d}"


def write_official(folder):
    entries = [
        {
            "answerable": 1, "image": f"{name(turn)}.jpg", "question": question, "answer_type": kind,
            "answers": [{"answer_confidence": "yes", "answer": answer} for answer in answers],
        }
        for turn, (question, kind, answers) in enumerate(ROWS)
    ]  # fmt: skip
    write_json(folder / "val.json", entries)
    for turn in range(len(ROWS)):
        write_picture(folder / "val" / f"{name(turn)}.jpg")
    return folder


def write_hub(folder, split="val"):
    rows = [
        {
            "question_id": name(turn, split), "image": cell(name(turn)), "question": question,
            "answers": answers if split == "val" else None, "category": kind if split == "val" else None,
        }
        for turn, (question, kind, answers) in enumerate(ROWS)
    ]  # fmt: skip
    write_parquet(folder / "data" / f"{split}-00000-of-00005.parquet", rows)
    return folder


def write_llava(folder):
    lines = [
        {
            "question_id": turn, "image": f"{name(turn, 'test')}.jpg", "text": question + HINT + SHORT,
            "category": "default",
        }
        for turn, question in enumerate(ASKED)
    ]  # fmt: skip
    write_jsonl(folder / "llava_test.jsonl", lines)
    for line in lines:
        write_picture(folder / "test" / line["image"])
    return folder


@pytest.fixture(params=[write_official, write_hub])
def folder(request, tmp_path):
    return request.param(tmp_path / "data" / "vizwiz")


def test_validation(folder):
    benchmark = VizWiz(data=str(folder), check_count=False)
    samples = benchmark.samples()
    assert [(s.kind, list(s.references)) for s in samples] == [row[1:] for row in ROWS]
    assert [s.question for s in samples] == ASKED
    assert [s.prompt for s in samples] == [question + HINT + SHORT for question in ASKED]
    assert [s.visual().size for s in samples] == [(40, 30)] * 4
    assert [s.query for s in samples] == [s.question for s in samples]
    assert [benchmark.released_query(s) for s in samples] == [s.question + HINT for s in samples]
    predictions = {name(turn): text for turn, text in enumerate(PREDICTIONS)}
    # The official evaluation compares with "Basil", "Yes!" and "cant tell" as they are.
    assert list(scores(benchmark, predictions).values()) == pytest.approx([1, 0, 0.6, 0])
    lmms = VizWiz(data=str(folder), check_count=False, protocol="lmms")
    assert list(scores(lmms, predictions).values()) == pytest.approx([1, 1, 0.9, 1])
    assert [s.prompt for s in lmms.samples()] == [s.prompt for s in samples]
    assert (benchmark.rule_version, lmms.rule_version) == (2, 1)  # runs under lmms keep their scores


def test_entries_that_are_not_right(tmp_path):
    file = write_official(tmp_path) / "val.json"
    entries = json.loads(file.read_text())
    write_json(file, [entries[0], entries[1] | {"answers": []}])
    with pytest.raises(UserError, match=r"val.json, entry 1: answers=\[\]: expected a list of answers"):
        VizWiz(data=str(tmp_path), check_count=False).samples()
    write_json(file, entries[:1] * 2)
    with pytest.raises(UserError, match="duplicate ids VizWiz_val_00000000"):
        VizWiz(data=str(tmp_path), check_count=False).samples()


def test_end_to_end_validation(tmp_path, folder):
    _, result, _ = finished(run_benchmark("vizwiz", tmp_path, f"data={folder.parent}"))
    assert result["accuracy"]["n"] == 4
    assert result["accuracy"]["by_kind"].keys() == {"unanswerable", "other", "yes/no"}


@pytest.mark.parametrize("write", [write_llava, lambda folder: write_hub(folder, "test")])
def test_end_to_end_test_split(tmp_path, write):
    folder = write(tmp_path / "data" / "vizwiz")
    samples = VizWizTest(data=str(folder), check_count=False).samples()
    assert [s.question for s in samples] == ASKED
    assert [s.prompt for s in samples] == [question + HINT + SHORT for question in ASKED]
    benchmark = VizWizTest(data=str(folder), check_count=False)
    assert [benchmark.released_query(s) for s in samples] == [question + HINT for question in ASKED]
    run_dir, result, records = finished(run_benchmark("vizwiz_test", tmp_path, f"data={folder.parent}"))
    assert result["accuracy"] is None
    assert json.loads((run_dir / "submission.json").read_text()) == [
        {"image": f"{record['id']}.jpg", "answer": record["answer"]} for record in records
    ]
