"""LongVideoBench: the JSON file and the parquet files of the hub."""

from __future__ import annotations

import json

import pytest
from families import save
from official import answered, finished, run_benchmark, write_json, write_parquet
from videos import index_of, write_video

from script_exp.benchmarks.longvideobench import LongVideoBench, _guess
from script_exp.errors import DataError, UserError

ROWS = [  # id, video, group, category, question, options, right one
    ("86CxyhFV9MI_0", "86CxyhFV9MI", 15, "S2E", "When “ü” is said?", ["a pan", "a D", "a lid"], 1),
    ("86CxyhFV9MI_1", "86CxyhFV9MI", 15, "TOS", "In what order?", ["1, 2", "2, 1"], 0),
    ("@user-71_0", "@user-71", 600, "S2E", "Who comes in?", list("vwxyz"), 4),
    ("Lr3_0", "Lr3", 3600, "SAA", "What changes?", ["w", "x", "y", "z"], 2),
]
PREDICTIONS = ["D. A book", "Best answer: A", "the e", "The correct option is (C)"]


def write_files(folder):
    for name, video, *_ in ROWS:
        write_video(folder / "videos" / f"{video}.mp4", frames=9 if name.startswith("L") else 30)
    return folder


def _common(name, video, group, category, question, right):
    return {
        "video_id": video, "question": question, "correct_choice": right, "id": name,
        "video_path": f"{video}.mp4", "subtitle_path": f"{video}_en.json", "duration_group": group,
        "question_category": category, "starting_timestamp_for_subtitles": 0.0, "duration": 12.5,
    }  # fmt: skip


def write_official(folder):
    entries = [
        _common(name, video, group, category, question, right) | {"candidates": options}
        for name, video, group, category, question, options, right in ROWS
    ]
    write_json(folder / "lvb_val.json", entries)
    return write_files(folder)


def write_hub(folder):
    rows = []
    for name, video, group, category, question, options, right in ROWS:
        padded = [*options, *["N/A"] * (5 - len(options))]
        given = {f"option{number}": option for number, option in enumerate(padded)}
        rows.append(_common(name, video, group, category, question, right) | given)
    write_parquet(folder / "validation-00000-of-00001.parquet", rows)
    return write_files(folder)


@pytest.fixture(params=[write_official, write_hub])
def folder(request, tmp_path):
    return request.param(tmp_path / "data" / "longvideobench")


def longvideobench(folder, **settings):
    return LongVideoBench(**{"data": str(folder), "check_count": False, "frames": 3} | settings)


def test_samples_are_the_same_from_both_sources(folder):
    benchmark = longvideobench(folder)
    samples = benchmark.samples()
    assert [sample.id for sample in samples] == [row[0] for row in ROWS]
    assert [sample.references for sample in samples] == [("B",), ("A",), ("E",), ("C",)]
    assert samples[0].prompt == (
        "When “ü” is said?\nA. a pan\nB. a D\nC. a lid\n"
        "Answer with the option's letter from the given choices directly.\n"
    )
    assert [sample.kind for sample in samples][2:] == ["up to 600 s/S2E", "up to 3600 s/SAA"]
    assert samples[0].unit == samples[1].unit != samples[2].unit
    assert [index_of(frame) for frame in samples[0].visual()] == [0, 14, 29]
    assert benchmark.max_new_tokens == 32
    assert benchmark.fingerprint() == "5891ac7f878692a5"


def test_scores(folder):
    benchmark = longvideobench(folder)
    answers = answered(benchmark, PREDICTIONS)
    assert [answer.answer for answer in answers][:2] == ["D", "A"]  # a letter that is no option is wrong
    assert answers[3].answer == "C"
    assert answers[2].answer == _guess("@user-71_0", 5)  # small letters say nothing
    right = 2 + (answers[2].answer == "E")
    assert benchmark.metric.of(answers) == pytest.approx(right / 4)
    by_kind = benchmark.metric.by_kind(answers)
    assert (by_kind["up to 15 s"], by_kind["up to 3600 s"], by_kind["TOS"]) == (0.5, 1, 1)
    assert by_kind["S2E"] == by_kind["up to 600 s"] / 2


def test_the_guess_is_even_and_the_same_in_every_run():
    guesses = [_guess(f"video_{number}", 4) for number in range(4000)]
    assert guesses == [_guess(f"video_{number}", 4) for number in range(4000)]
    for letter in "ABCD":
        assert guesses.count(letter) == pytest.approx(1000, abs=110)  # four standard deviations


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"correct_choice": 3}, r"entry 0: correct_choice=3: expected from 0 to 2"),
        ({"correct_choice": True}, r"entry 0: correct_choice=True: expected int"),
        ({"video_path": "../../x.mp4"}, r"entry 0: 'videos/../../x.mp4' leads out of"),
        ({"id": "Lr3_0"}, r"duplicate ids Lr3_0"),
    ],
)
def test_entries_that_are_not_right(tmp_path, changes, message):
    file = write_official(tmp_path) / "lvb_val.json"
    entries = json.loads(file.read_text())
    entries[0].update(changes)
    file.write_text(json.dumps(entries))
    with pytest.raises(UserError, match=message):
        longvideobench(tmp_path).samples()


def test_files_that_are_not_right(tmp_path):
    with pytest.raises(UserError, match=r"expected a folder with lvb_val.json or validation-\*.parquet"):
        longvideobench(tmp_path).samples()
    with pytest.raises(UserError, match=r"4 samples, but the official files have 1337"):
        longvideobench(write_official(tmp_path), check_count=True).samples()
    write_json(tmp_path / "copy" / "lvb_val.json", [])
    with pytest.raises(UserError, match=r"expected one lvb_val.json"):
        longvideobench(tmp_path).samples()
    (tmp_path / "videos" / "Lr3.mp4").unlink()
    (tmp_path / "copy" / "lvb_val.json").unlink()
    with pytest.raises(DataError, match=r"videos/Lr3.mp4 is missing"):
        longvideobench(tmp_path).samples()[3].visual()


def test_end_to_end(tmp_path, tmp_path_factory):
    folder = write_hub(tmp_path / "data" / "longvideobench")
    model = save("llava_next_video", tmp_path_factory.mktemp("model"))
    arguments = [f"data={folder.parent}", f"model.path={model}", "benchmark.frames=12", "budget=3"]
    _, result, records = finished(run_benchmark("longvideobench", tmp_path, *arguments))
    assert [record["crops"] for record in records] == [12] * 4  # the short video repeats frames
    assert result["accuracy"]["n"] == 4
    assert {"up to 15 s", "S2E"} <= result["accuracy"]["by_kind"].keys()
