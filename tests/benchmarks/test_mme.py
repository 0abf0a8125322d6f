"""MME: acc and acc+ by subtask, both folder layouts of the release."""

from __future__ import annotations

import numpy as np
import pytest
from official import SHORT, answered, cell, finished, run_benchmark, write_jsonl, write_parquet, write_picture

from script_exp.benchmarks.mme import Mme
from script_exp.errors import UserError

ROWS = [  # subtask, image, question, answer
    ("existence", "000000006040", "Is there a train in this image?", "Yes"),
    ("existence", "000000006040", "Is there a surfboard in this image?", "No"),
    ("existence", "000000007816", "Is there a motorcycle in this image?", "Yes"),
    ("existence", "000000007816", "Is there a cup in this image?", "No"),
    ("landmark", "032adf9c9ff1", "Is this a photo of Château de Blois?", "Yes"),
    ("landmark", "032adf9c9ff1", "Is this a photo of Galata Tower?", "No"),
    ("code_reasoning", "0020", "Is a python code shown in the picture?", "Yes"),
    ("code_reasoning", "0020", "Is a c++ code shown in the picture?", "No"),
]
PREDICTIONS = [
    "Yes", "no, none",  # both
    "y.", "No",  # "y." says nothing: one of the pair
    " Yes, it is.", "not at all",  # both: "not" has a no in it
    "The no", "It is not",  # "the " and "it i" say nothing
]  # fmt: skip
FOLDERS = {"landmark"}  # subtasks with the images and the questions in folders of their own


def write_llava(folder):
    release = folder / "MME_Benchmark_release_version"
    lines = []
    for turn, (subtask, image, question, answer) in enumerate(ROWS):
        images, texts = ("images/", "questions_answers_YN/") if subtask in FOLDERS else ("", "")
        name = f"{subtask}/{images}{image}.png"
        lines.append({"question_id": name, "image": name, "text": question + SHORT, "category": subtask})
        write_picture(release / name)
        file = release / subtask / f"{texts}{image}.txt"
        file.parent.mkdir(exist_ok=True)
        blanks = "  " if turn == 3 else " "  # as in some of the official files
        with file.open("a", encoding="utf-8") as texts_of_image:
            texts_of_image.write(f"{question}{blanks}Please answer yes or no.\t{answer}\n")
    write_jsonl(folder / "llava_mme.jsonl", lines)
    return folder


def write_hub(folder):
    rows = [
        {
            "question_id": f"{subtask}/{image}.png", "image": cell(image), "category": subtask,
            "question": f"{question} Please answer yes or no.", "answer": answer,
        }
        for subtask, image, question, answer in ROWS
    ]  # fmt: skip
    write_parquet(folder / "data" / "test-00000-of-00001.parquet", rows)
    return folder


@pytest.fixture(params=[write_llava, write_hub])
def folder(request, tmp_path):
    return request.param(tmp_path / "data" / "MME")


def mme(folder, **settings):
    return Mme(**{"data": str(folder), "check_count": False} | settings)


def test_samples(folder):
    samples = mme(folder).samples()
    assert [s.id for s in samples][:3] == [
        "existence/000000006040-1", "existence/000000006040-2", "existence/000000007816-1",
    ]  # fmt: skip
    assert [(s.kind, s.question, *s.references) for s in samples] == [
        (subtask, question, answer.lower()) for subtask, _, question, answer in ROWS
    ]
    assert all(s.prompt == s.question + SHORT for s in samples)
    assert len({s.unit for s in samples}) == 4
    assert [s.visual().size for s in samples] == [(40, 30)] * 8


def test_scores(folder):
    benchmark = mme(folder)
    answers = answered(benchmark, PREDICTIONS)
    assert [a.answer for a in answers] == ["yes", "no", "other", "no", "yes", "no", "other", "other"]
    # existence: 3 of 4 questions, 1 of 2 images; landmark: everything; code: nothing
    assert benchmark.metric.of(answers) == pytest.approx(75 + 50 + 100 + 100)
    assert benchmark.metric.scale == 1
    assert benchmark.metric.by_kind(answers) == pytest.approx(
        {"perception": 325, "cognition": 0, "existence": 125, "landmark": 200, "code_reasoning": 0}
    )
    # An image of which one question was skipped counts in acc, and in no pair.
    assert benchmark.metric.of(answers[:3]) == pytest.approx(100 * 2 / 3 + 100)
    # The bootstrap weighs whole images: the first one twice, the second not at all.
    sums = np.array([0, 2, 0, 1]) @ benchmark.metric.by_unit(
        answers
    )  # units: code, existence twice, landmark
    assert benchmark.metric.value(sums) == pytest.approx(400)


def test_the_rule_of_lmms_eval(folder):
    answers = answered(mme(folder, protocol="lmms"), PREDICTIONS)
    assert [a.answer for a in answers] == ["yes", "no", "yes", "no", "yes", "no", "other", "other"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "existence/000000006040",
            "absence/1",
            "line 1: question_id=absence/1.png: expected SUBTASK/IMAGE with one of existence",
        ),
        ("Is there a train", "Is there one", "line 1: 'Is there one in this image.' is not in .*6040.txt"),
        ("code_reasoning/0020", "code_reasoning/0021", "0021.txt is missing"),
    ],
)
def test_lines_that_are_not_right(tmp_path, old, new, message):
    file = write_llava(tmp_path) / "llava_mme.jsonl"
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(UserError, match=message):
        mme(tmp_path).samples()


def test_an_image_needs_two_questions(tmp_path):
    file = write_llava(tmp_path) / "llava_mme.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(UserError, match=r"1 questions about code_reasoning/0020, expected two"):
        mme(tmp_path).samples()


def test_a_label_that_is_not_yes_or_no(tmp_path):
    file = write_llava(tmp_path) / "MME_Benchmark_release_version" / "code_reasoning" / "0020.txt"
    file.write_text("Is a python code shown in the picture? Please answer yes or no. Yes\n")
    with pytest.raises(UserError, match=r"0020.txt, line 1: expected a question, a tab, and Yes or No"):
        mme(tmp_path).samples()


def test_end_to_end(tmp_path, folder):
    process = run_benchmark("mme", tmp_path, f"data={folder.parent}")
    _, result, records = finished(process)
    accuracy = result["accuracy"]
    assert len(records) == accuracy["n"] == 8
    assert (accuracy["metric"], accuracy["scale"]) == ("mme_perception", 1)
    assert accuracy["by_kind"].keys() == {
        "perception",
        "cognition",
        "existence",
        "landmark",
        "code_reasoning",
    }
    assert accuracy["value"] == accuracy["by_kind"]["perception"]
