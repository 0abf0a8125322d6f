"""MLVU: the official JSON files and the parquet file that lmms-eval reads."""

from __future__ import annotations

import json

import pytest
from families import save
from official import answered, finished, run_benchmark, write_json, write_parquet
from videos import index_of, write_video

from script_exp.benchmarks import METRICS
from script_exp.benchmarks.mlvu import Mlvu
from script_exp.errors import DataError, UserError

COLORS = ["Yellow", "Red", "Green", "Blue"]
ROWS = [  # number and name of the task, video, question, options, answer
    ("1_plotQA", "movie101_66.mp4", "What color is the café?", COLORS, "Yellow"),
    ("1_plotQA", "movie101_67.mp4", "What color is the main character?", COLORS, "Blue"),
    ("2_needle", "needle_32.mp4", "What does the hand do?", ["Delivers (it)", "Points"], "Points"),
    ("6_anomaly_reco", "surveil_8.mp4", "Which abnormality?", ["Robbery", "Arson", "None"], "Robbery"),
]
LETTERS = ["A", "D", "B", "A"]
PREDICTIONS = ["A) Yellow", "D", "Points (B)", "a"]
_TYPES = {"1_plotQA": "plotQA", "2_needle": "findNeedle", "6_anomaly_reco": "anomaly_reco"}


def _entries(stem):
    return [
        {
            "video": video, "duration": 246, "question": question, "candidates": options, "answer": answer,
            "question_type": _TYPES[stem],
        }
        for task, video, question, options, answer in ROWS
        if task == stem
    ]  # fmt: skip


def write_official(folder):
    for stem in _TYPES:
        write_json(folder / "json" / f"{stem}.json", _entries(stem))
    write_json(folder / "json" / "9_summary.json", [{"video": "x.mp4", "question": "Summarize."}])
    for stem, video, *_ in ROWS:  # folders are called after the files, or without the number
        write_video(folder / "video" / (stem if stem != "2_needle" else "needle") / video, frames=20)
    return folder


def write_hub(folder):
    rows = []
    for (stem, video, question, options, _), letter in zip(ROWS, LETTERS, strict=True):
        choices = "\n".join(f"({'ABCD'[place]}) {option}" for place, option in enumerate(options))
        name = video.removesuffix(".mp4") if stem == "2_needle" else video  # some have no suffix
        rows.append(
            {
                "video_name": name, "duration": "246", "question": f"{question}\n{choices}",
                "candidates": options, "answer": letter, "task_type": stem.split("_", 1)[1],
            }
        )  # fmt: skip
        write_video(folder / ("video" if stem == "1_plotQA" else "") / video, frames=20)
    write_parquet(folder / "mlvu" / "test-00000-of-00001.parquet", rows)
    return folder


@pytest.fixture(params=[write_official, write_hub])
def folder(request, tmp_path):
    return request.param(tmp_path / "data" / "mlvu")


def mlvu(folder, **settings):
    return Mlvu(**{"data": str(folder), "check_count": False, "frames": 3} | settings)


def test_samples_are_the_same_from_both_sources(folder):
    benchmark = mlvu(folder)
    samples = benchmark.samples()
    assert [sample.id for sample in samples] == ["plotQA-0", "plotQA-1", "needle-0", "anomaly_reco-0"]
    assert [sample.references for sample in samples] == [(letter,) for letter in LETTERS]
    assert samples[0].prompt == (
        "What color is the café?\n(A) Yellow\n(B) Red\n(C) Green\n(D) Blue\n"
        "Only give the best option.\nBest option: ("
    )
    assert [[index_of(frame) for frame in sample.visual()] for sample in samples] == [[0, 9, 19]] * 4
    assert len({sample.unit for sample in samples}) == 4
    assert benchmark.fingerprint() == "8c70fecb7e0c91ad"


def test_scores(folder):
    benchmark = mlvu(folder)
    answers = answered(benchmark, PREDICTIONS)
    assert [answer.answer for answer in answers] == ["A", "D", "B", ""]
    assert [answer.score for answer in answers] == [1, 1, 1, 0]
    assert benchmark.metric.of(answers) == METRICS["mlvu_m_avg"].of(answers) == pytest.approx(2 / 3)
    assert benchmark.metric.by_kind(answers) == {"plotQA": 1, "needle": 1, "anomaly_reco": 0}
    texts = (" B\n", ")", "B.", "(C) it (D)", "Answer: B")
    assert [benchmark.parse(None, text) for text in texts] == ["B", "", "B", "D", "B"]
    older = mlvu(folder, protocol_version="0.3.5")
    assert [older.parse(None, text) for text in texts] == ["B", "", "B.", "C", "Answer: B"]
    assert older.fingerprint() == benchmark.fingerprint()  # the prompts are the same
    oldest = mlvu(folder, protocol_version="0.3.0")
    assert [oldest.parse(None, text) for text in texts] == ["B", "", "B", "C", "A"]
    assert oldest.samples()[0].prompt == (
        "\nWhat color is the café?\n(A) Yellow\n(B) Red\n(C) Green\n(D) Blue\n"
        "Only give the best option.\n\nBest option: ("
    )


def test_files_that_are_not_right(tmp_path):
    with pytest.raises(UserError, match=r"expected a folder with json/\*_\*.json or mlvu/test-\*.parquet"):
        mlvu(tmp_path).samples()
    file = write_official(tmp_path) / "json" / "1_plotQA.json"
    with pytest.raises(UserError, match=r"4 samples, but the official files have 2174"):
        mlvu(tmp_path, check_count=True).samples()
    entries = _entries("1_plotQA")
    entries[1]["answer"] = "Pink"
    file.write_text(json.dumps(entries))
    with pytest.raises(UserError, match=r"1_plotQA.json, entry 1: answer='Pink': expected one of 'Yellow'"):
        mlvu(tmp_path).samples()
    entries[1] |= {"answer": "Blue", "video": "../../../x.mp4"}
    file.write_text(json.dumps(entries))
    with pytest.raises(UserError, match=r"entry 1: .*x.mp4' leads out of"):
        mlvu(tmp_path).samples()
    file.rename(file.with_name("1_plot.json"))
    with pytest.raises(UserError, match=r"task plot: expected one of plotQA, needle"):
        mlvu(tmp_path).samples()


def test_rows_that_are_not_right(tmp_path):
    row = {"video_name": "x", "question": "?", "candidates": ["a", "b"], "answer": "C", "task_type": "ego"}
    file = tmp_path / "mlvu" / "test-00000-of-00001.parquet"
    write_parquet(file, [row])
    with pytest.raises(UserError, match=r"row 0: answer='C': expected one of A, B"):
        mlvu(tmp_path).samples()
    write_parquet(file, [row | {"answer": "A", "task_type": "summary"}])
    with pytest.raises(UserError, match=r"row 0: task summary: expected one of plotQA"):
        mlvu(tmp_path).samples()
    write_parquet(file, [row | {"answer": "A"}])
    with pytest.raises(DataError, match=r"the video .*x.mp4 is missing"):
        mlvu(tmp_path).samples()[0].visual()


@pytest.mark.parametrize("family", ["llava_next_video", "llava_onevision_video", "qwen2_5_vl_video"])
def test_end_to_end(tmp_path, tmp_path_factory, family):
    """Two of the families take images as well: the benchmark says what they get."""
    folder = write_official(tmp_path / "data" / "mlvu")
    model = save(family, tmp_path_factory.mktemp("model"))
    arguments = [f"data={folder.parent}", f"model.path={model}", "benchmark.frames=2", "budget=3"]
    if family == "qwen2_5_vl_video":
        arguments += ["model.positions=preserved", "benchmark.frames=4"]
    _, result, records = finished(run_benchmark("mlvu", tmp_path, *arguments))
    assert [record["id"] for record in records] == ["plotQA-0", "plotQA-1", "needle-0", "anomaly_reco-0"]
    assert all((record["budget_crops"], record["kept"]) == (2, 6) for record in records)  # frames, or pairs
    assert result["accuracy"]["metric"] == "mlvu_m_avg"
    assert result["accuracy"]["by_kind"].keys() == {"plotQA", "needle", "anomaly_reco"}
