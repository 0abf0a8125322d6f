"""ScienceQA: the questions with an image, and answers parsed as in LLaVA and as in lmms-eval."""

from __future__ import annotations

import json

import pytest
from official import answered, cell, finished, run_benchmark, scores, write_json, write_parquet, write_picture

from script_exp.benchmarks.scienceqa import ScienceQa
from script_exp.errors import DataError, UserError

LETTER = "\nAnswer with the option's letter from the given choices directly."
ROWS = [  # id, subject, hint, question, choices, answer
    ("11", "social science", "", "What is the name of the colony shown?", ["Maryland", "New Hampshire"], 1),
    (
        "42", "natural science", "The allele for hairy fleece (F) is dominant.\nThe square shows a cross.",
        "What is the expected ratio?", ["0:4", "4:0", "2:2", "1:3", "3:1"], 4,
    ),
    ("46", "natural science", "Select the best answer.", "Which property?", ["shiny", "wet", "opaque"], 2),
    ("180", "natural science", "75°F – or 85°F?", "Which was dependent?", ["the temperature", "the days"], 0),
    ("205", "language science", "", "Which is a compound word?", ["rainbow", "purple", "quickly"], 0),
    ("230", "social science", "", "Which state is farthest north?", ["Maine", "Kansas"], 0),
    ("241", "social science", "", "Which continent is highlighted?", ["Africa", "Asia"], 1),
    ("250", "natural science", "", "Select the bird below.", ["toad", "ostrich"], 1),
]  # fmt: skip
TEXT_ONLY = ("4", "language science", "", "Which figure of speech is used?", ["chiasmus", "apostrophe"], 1)
ASKED = {
    "11": "What is the name of the colony shown?\nA. Maryland\nB. New Hampshire",
    "42": "Context: The allele for hairy fleece (F) is dominant.\nThe square shows a cross.\n"
    "What is the expected ratio?\nA. 0:4\nB. 4:0\nC. 2:2\nD. 1:3\nE. 3:1",
}
PREDICTIONS = {
    "11": "B",
    "42": "E. 3:1",
    "46": "C.",  # LLaVA: a space has to follow the period
    "180": "The answer is A.",
    "205": "The answer is A. The answer is B.",  # two answers
    "230": "a",  # small
    "241": "The answer is B",  # LLaVA: something has to follow the letter
    "250": "D",  # not one of the choices
}
LLAVA = {"11": "B", "42": "E", "46": "FAILED", "180": "A", "205": "FAILED", "230": "FAILED", "241": "FAILED",
         "250": "D"}  # fmt: skip
SCORES = {"11": 1, "42": 1, "46": 0, "180": 1, "205": 0, "230": 0, "241": 0, "250": 0}
LMMS_SCORES = SCORES | {"46": 1, "180": 0, "230": 1}


def problem(row):
    _, subject, hint, question, choices, answer = row
    return {"question": question, "choices": choices, "answer": answer, "hint": hint, "subject": subject}


def context(hint):
    return f"Context: {hint}\n" if hint else ""


def entry(row, image):
    name, _, hint, question, choices, answer = row
    lines = "\n".join(f"{letter}. {choice}" for letter, choice in zip("ABCDE", choices, strict=False))
    text = f"{context(hint)}{question}\n{lines}"
    return {
        "id": name, **({"image": f"{name}/image.png"} if image else {}),
        "conversations": [
            {"from": "human", "value": ("<image>\n" if image else "") + text},
            {"from": "gpt", "value": "ABCDE"[answer]},
        ],
    }  # fmt: skip


def write_llava(folder):
    write_json(
        folder / "llava_test_CQM-A.json", [entry(TEXT_ONLY, False), *(entry(row, True) for row in ROWS)]
    )
    rows = {row[0]: problem(row) | {"image": "image.png", "split": "test"} for row in ROWS}
    write_json(folder / "problems.json", {"1": {}, TEXT_ONLY[0]: problem(TEXT_ONLY), **rows})
    write_json(folder / "pid_splits.json", {"train": ["1"], "test": [TEXT_ONLY[0], *rows]})
    for name in rows:
        write_picture(folder / "images" / "test" / name / "image.png")
    return folder


def write_hub(folder):
    rows = [problem(row) | {"image": cell(row[0]), "task": "closed choice", "lecture": ""} for row in ROWS]
    write_parquet(folder / "ScienceQA-IMG" / "test-00000-of-00001.parquet", rows)
    # the other parts of the data set are passed over
    write_parquet(folder / "ScienceQA-FULL" / "test-00000-of-00001.parquet", [problem(TEXT_ONLY)])
    write_parquet(folder / "ScienceQA-IMG" / "validation-00000-of-00001.parquet", [problem(TEXT_ONLY)])
    return folder


@pytest.fixture(params=[write_llava, write_hub])
def folder(request, tmp_path):
    return request.param(tmp_path / "data" / "scienceqa")


def science(folder, **settings):
    return ScienceQa(**{"data": str(folder), "check_count": False} | settings)


def ids(benchmark):
    """Ids of the samples by those of ROWS; the hub's rows have none."""
    return dict(zip((row[0] for row in ROWS), (sample.id for sample in benchmark.samples()), strict=True))


def test_samples(folder):
    samples = science(folder).samples()
    assert [(s.kind, *s.references) for s in samples] == [(row[1], "ABCDE"[row[5]]) for row in ROWS]
    asked = dict(zip((row[0] for row in ROWS), samples, strict=True))
    for name, text in ASKED.items():
        assert (asked[name].question, asked[name].prompt) == (text, text + LETTER)
    assert asked["180"].question.startswith("Context: 75°F – or 85°F?\nWhich was")
    assert [s.visual().size for s in samples] == [(40, 30)] * len(ROWS)
    assert [s.prompt for s in science(folder, protocol="lmms").samples()] == [s.prompt for s in samples]


def test_scores(folder):
    benchmark = science(folder)
    names = ids(benchmark)
    predictions = {names[name]: text for name, text in PREDICTIONS.items()}
    samples = {sample.id: sample for sample in benchmark.samples()}
    assert {name: benchmark.parse(samples[names[name]], PREDICTIONS[name]) for name in names} == LLAVA
    assert scores(benchmark, predictions) == {names[name]: score for name, score in SCORES.items()}
    lmms = science(folder, protocol="lmms")
    assert scores(lmms, predictions) == {names[name]: score for name, score in LMMS_SCORES.items()}
    assert (benchmark.max_new_tokens, lmms.max_new_tokens) == (1024, 16)
    answers = answered(benchmark, PREDICTIONS.values())
    assert benchmark.metric.of(answers) == 3 / 8
    assert benchmark.metric.by_kind(answers) == pytest.approx(
        {"language science": 0, "natural science": 2 / 4, "social science": 1 / 3}
    )


def test_a_line_break_is_not_a_period(tmp_path):
    benchmark = science(write_llava(tmp_path))
    sample = benchmark.samples()[0]
    assert benchmark.parse(sample, "B\n. New Hampshire") == "FAILED"
    assert benchmark.parse(sample, "") == "FAILED"
    assert benchmark.parse(sample, "F. nothing") == "FAILED"
    assert science(tmp_path, protocol="lmms").parse(sample, "F. nothing") == "F"
    assert science(tmp_path, protocol="lmms").parse(sample, "") == ""


@pytest.mark.parametrize(
    ("version", "answers"),
    [
        (None, ["A", "A", "A", "a. cat", "A"]), ("0.3.0", ["A", "A", "A. cat", "a. cat", "A"]),
        ("0.2.0", ["A", "a", "A", "a. cat", " A"]),
    ],
)  # fmt: skip
def test_the_releases_of_lmms_eval(tmp_path, version, answers):
    """Small letters count since 0.2.3; until 0.3.0 they did so at the cost of "A. ..."."""
    benchmark = science(tmp_path, protocol="lmms", protocol_version=version)
    assert [benchmark.parse(None, text) for text in ("A", "a", "A. cat", "a. cat", " A")] == answers


def test_only_the_questions_with_an_image_count(folder):
    with pytest.raises(UserError, match=r"8 samples, but the official files have 2017"):
        science(folder, check_count=True).samples()


def changed(folder, file, change):
    content = json.loads((folder / file).read_text())
    change(content)
    write_json(folder / file, content)
    return science(folder)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("llava_test_CQM-A.json", lambda c: c[2].pop("id"), "CQM-A.json, entry 2: no 'id' among image"),
        (
            "llava_test_CQM-A.json",
            lambda c: c[2].update(id="1"),
            "entry 2: question 1 is not in the test split",
        ),
        ("llava_test_CQM-A.json", lambda c: c.append(c[1]), "duplicate ids 11"),
        ("llava_test_CQM-A.json", lambda c: c.append([]), "entry 9: expected a JSON object"),
        ("llava_test_CQM-A.json", lambda c: c[1].update(conversations=[]), "entry 1: no conversations"),
        (
            "llava_test_CQM-A.json",
            lambda c: c[1].update(image="../../x.png"),
            r"entry 1: '../../x.png' leads",
        ),
        ("problems.json", lambda c: c.pop("46"), "entry 3: question 46 is not in .*problems.json"),
        (
            "problems.json",
            lambda c: c["46"].update(answer=3),
            "question 46: answer=3: expected from 0 to 2",
        ),
        ("problems.json", lambda c: c["46"].update(choices=["one"]), "46: choices=.*: expected two to five"),
        (
            "problems.json",
            lambda c: c["46"].update(subject="art"),
            "46: subject=art: expected one of natural",
        ),
        ("pid_splits.json", lambda c: c.pop("test"), "pid_splits.json: no 'test' among train"),
    ],
)
def test_entries_that_are_not_right(tmp_path, file, change, message):
    with pytest.raises(UserError, match=message):
        changed(write_llava(tmp_path), file, change).samples()


def test_files_that_are_missing_or_cut_off(tmp_path):
    file = write_llava(tmp_path) / "llava_test_CQM-A.json"
    file.write_text(file.read_text()[:-40])
    with pytest.raises(UserError, match=r"CQM-A.json: not JSON"):
        science(tmp_path).samples()
    (tmp_path / "problems.json").unlink()
    with pytest.raises(UserError, match=r"problems.json is missing"):
        science(tmp_path).samples()


def test_an_image_that_is_missing(tmp_path):
    (write_llava(tmp_path) / "images" / "test" / "42" / "image.png").unlink()
    with pytest.raises(DataError, match=r"42/image.png is missing"):
        science(tmp_path).samples()[1].visual()


def test_end_to_end(tmp_path, folder):
    _, result, records = finished(
        run_benchmark("scienceqa", tmp_path, f"data={folder.parent}", "benchmark.protocol=lmms")
    )
    assert len(records) == result["accuracy"]["n"] == 8
    assert result["accuracy"]["by_kind"].keys() == {"language science", "natural science", "social science"}


def test_a_question_of_several_segments_end_to_end(tmp_path, monkeypatch):
    """Longer than CLIP's 77 tokens, for a pruner that asks it."""
    name, subject, hint, *rest = ROWS[1]
    longer = [ROWS[0], (name, subject, f"{hint} " * 20, *rest), *ROWS[2:]]
    monkeypatch.setitem(globals(), "ROWS", longer)
    folder = write_llava(tmp_path / "data" / "scienceqa")
    _, _, records = finished(run_benchmark("scienceqa", tmp_path, f"data={folder.parent}", "pruner=script"))
    queries = {record["id"]: record["query"] for record in records}
    assert queries.pop(name) > 2 * 77 > 77 > max(queries.values())
