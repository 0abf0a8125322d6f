"""POPE: the yes/no rule, F1 by category, labels by position."""

from __future__ import annotations

import json

import numpy as np
import pytest
from official import SHORT, answered, cell, finished, run_benchmark, write_jsonl, write_parquet, write_picture

from script_exp.benchmarks import METRICS
from script_exp.benchmarks.pope import Pope
from script_exp.errors import UserError

ROWS = [  # category, question id, image, thing, label
    ("adversarial", 1, "COCO_val2014_000000310196", "snowboard", "yes"),
    ("adversarial", 2, "COCO_val2014_000000310196", "person", "no"),
    ("adversarial", 3, "COCO_val2014_000000210789", "car", "yes"),
    ("adversarial", 4, "COCO_val2014_000000210789", "truck", "no"),
    ("popular", 5, "COCO_val2014_000000310196", "snowboard", "yes"),
    ("popular", 6, "COCO_val2014_000000310196", "chair", "no"),
    ("popular", 7, "COCO_val2014_000000210789", "car", "yes"),
    ("random", 8, "COCO_val2014_000000310196", "backpack", "yes"),
    ("random", 9, "COCO_val2014_000000310196", "zebra", "no"),
    ("random", 10, "COCO_val2014_000000210789", "hot dog", "no"),
]
PREDICTIONS = [
    "Yes, there is.", "yes", "no", "No",  # 1 true positive, 1 false positive, 1 false negative: F1 = 1/2
    "Yes. There is no other.", "There is not", "yes",  # right, right, right: F1 = 1
    "NO", "Maybe", "No, there is not.",  # "NO" is a yes, "Maybe" is a yes: F1 = 2/3
]  # fmt: skip
ANSWERS = ["yes", "yes", "no", "no", "yes", "no", "yes", "yes", "yes", "no"]


def question(thing):
    return f"Is there a {thing} in the image?"


def write_llava(folder):
    lines = [
        {
            "question_id": number,
            "image": f"{image}.jpg",
            "text": question(thing) + SHORT,
            "category": category,
        }
        for category, number, image, thing, _ in ROWS
    ]
    write_jsonl(folder / "llava_pope_test.jsonl", lines)
    for category in ("adversarial", "popular", "random"):
        rows = [row for row in ROWS if row[0] == category]
        labels = [
            {"question_id": turn, "image": f"{image}.jpg", "text": question(thing), "label": label}
            for turn, (_, _, image, thing, label) in enumerate(rows, start=1)
        ]
        write_jsonl(folder / "coco" / f"coco_pope_{category}.json", labels)
    for image in {row[2] for row in ROWS}:
        write_picture(folder / "val2014" / f"{image}.jpg")
    return folder


def write_hub(folder):
    rows = [
        {
            "id": str(turn), "question_id": str(number), "question": question(thing), "answer": label,
            "image_source": image, "image": cell(image), "category": category,
        }
        for turn, (category, number, image, thing, label) in enumerate(ROWS)
    ]  # fmt: skip
    write_parquet(folder / "data" / "test-00000-of-00003.parquet", rows[:4])
    write_parquet(folder / "data" / "test-00001-of-00003.parquet", rows[4:], group=3)
    write_parquet(folder / "Full" / "random-00000-of-00001.parquet", rows[7:])  # the same rows once more
    return folder


@pytest.fixture(params=[write_llava, write_hub])
def folder(request, tmp_path):
    return request.param(tmp_path / "data" / "pope")


def pope(folder, **settings):
    return Pope(**{"data": str(folder), "check_count": False} | settings)


def test_samples(folder):
    samples = pope(folder).samples()
    assert [s.id for s in samples] == [f"{row[0]}-{row[1]}" for row in ROWS]
    assert [s.unit for s in samples] == [row[2] for row in ROWS]
    assert [s.references for s in samples] == [(row[4],) for row in ROWS]
    assert samples[9].question == "Is there a hot dog in the image?"
    assert samples[9].prompt == "Is there a hot dog in the image?" + SHORT
    assert [s.visual().size for s in samples] == [(40, 30)] * 10


def test_llavas_rule(folder):
    benchmark = pope(folder)
    answers = answered(benchmark, PREDICTIONS)
    assert [answer.answer for answer in answers] == ANSWERS
    metric = METRICS["mean_f1"]
    assert type(benchmark.metric) is type(metric)
    assert metric.of(answers) == pytest.approx((1 / 2 + 1 + 2 / 3) / 3)
    kinds = {"adversarial": 1 / 2, "popular": 1, "random": 2 / 3}
    assert metric.by_kind(answers) == pytest.approx(kinds)
    resampled = np.stack([metric.by_unit(answers).sum(axis=0), np.zeros(12)])
    np.testing.assert_allclose(metric.value(resampled), [13 / 18, 0])


def test_the_rule_of_lmms_eval(folder):
    benchmark = pope(folder, protocol="lmms")
    answers = answered(benchmark, PREDICTIONS)
    assert [a.answer for a in answers][3:8] == ["no", "yes. there is no other.", "there is not", "yes", "no"]
    # true positives: car (popular); false: person; false negatives: car (adversarial), backpack
    assert benchmark.metric.of(answers) == pytest.approx(2 / (2 + 1 + 2))
    assert METRICS["pooled_f1"].of(answers[4:6]) == 0


def test_labels_that_do_not_fit(tmp_path):
    write_llava(tmp_path)
    file = tmp_path / "coco" / "coco_pope_popular.json"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    write_jsonl(file, lines[:2])
    with pytest.raises(UserError, match=r"2 labels, but llava_pope_test.jsonl has 3 questions"):
        pope(tmp_path).samples()
    write_jsonl(file, lines[::-1])
    with pytest.raises(
        UserError, match=r"popular.json, line 1: the label of .*210789.jpg, but .*, line 5 asks"
    ):
        pope(tmp_path).samples()
    write_jsonl(file, [lines[0] | {"label": "maybe"}, *lines[1:]])
    with pytest.raises(UserError, match=r"popular.json, line 1: label 'maybe': expected yes or no"):
        pope(tmp_path).samples()


def test_an_unknown_category(tmp_path):
    file = write_llava(tmp_path) / "llava_pope_test.jsonl"
    file.write_text(file.read_text().replace("popular", "unpopular"))
    with pytest.raises(UserError, match=r"line 5: category=unpopular: expected one of adversarial, popular"):
        pope(tmp_path).samples()


def test_end_to_end(tmp_path, folder):
    process = run_benchmark("pope", tmp_path, f"data={folder.parent}")
    _, result, records = finished(process)
    assert len(records) == result["accuracy"]["n"] == 10
    assert {record["answer"] for record in records} <= {"yes", "no"}
    assert result["accuracy"]["metric"] == "mean_f1"
    assert result["accuracy"]["by_kind"].keys() == {"adversarial", "popular", "random"}
    low, high = result["accuracy"]["ci95"]
    assert 0 <= low <= result["accuracy"]["value"] <= high <= 1
