"""Video-MME: the hub's folder, with and without subtitles."""

from __future__ import annotations

import pytest
from families import save
from official import answered, finished, run_benchmark, write_parquet
from videos import index_of, write_video

from script_exp.benchmarks.videomme import VideoMme
from script_exp.errors import DataError, SettingError, UserError

ROWS = [  # question, video, length, domain, task, question, answer
    ("001-1", "fFjv93ACGo8", "short", "Knowledge", "Counting Problem", "How many Äpfel?", "C"),
    ("001-2", "fFjv93ACGo8", "short", "Knowledge", "Object Reasoning", "What is it?", "A"),
    ("301-1", "N1cdUjctpG8", "medium", "Life Record", "Counting Problem", 'How many "stars"?', "D"),
    ("601-1", "-a_b", "long", "Multilingual", "OCR Problems", "Что написано?", "B"),
]
PREDICTIONS = ["The best answer is C.", "Best option: A", "(D) four", "b"]
OPTIONS = ["A. One.", "B. Two.", "C. Three.", "D. Four."]
SRT = """1
00:00:00,000 --> 00:00:00,500
<font color="white" size=".72c">at the beginning</font>

2
00:00:00,600 --> 00:00:00,700
<font color="white" size=".72c">between two frames</font>

3
00:00:01,000 --> 00:00:03,000
<font color="white" size=".72c">two lines,
of which this is one — ü</font>

4
00:00:09,000 --> 00:00:10,000
<font color="white" size=".72c">late</font>
"""


def write_hub(folder):
    rows = [
        {
            "video_id": name[:3], "duration": length, "domain": domain, "sub_category": "Technology",
            "url": f"https://www.youtube.com/watch?v={video}", "videoID": video, "question_id": name,
            "task_type": task, "question": question, "options": OPTIONS, "answer": answer,
        }
        for name, video, length, domain, task, question, answer in ROWS
    ]  # fmt: skip
    write_parquet(folder / "videomme" / "test-00000-of-00001.parquet", rows)
    write_video(folder / "data" / "fFjv93ACGo8.mp4", frames=60)  # ten seconds
    write_video(folder / "data" / "N1cdUjctpG8.mkv", frames=20, keyframes=5)
    write_video(folder / "data" / "upper.mp4", frames=20).rename(folder / "data" / "-a_b.MP4")
    return folder


@pytest.fixture
def folder(tmp_path):
    return write_hub(tmp_path / "data" / "videomme")


def videomme(folder, **settings):
    return VideoMme(**{"data": str(folder), "check_count": False, "frames": 4} | settings)


def test_samples(folder):
    samples = videomme(folder).samples()
    assert [(s.id, s.unit, *s.kind.split("/"), *s.references) for s in samples] == [
        (name, video, length, domain, task, answer) for name, video, length, domain, task, _, answer in ROWS
    ]
    assert samples[0].question == "How many Äpfel?\nA. One.\nB. Two.\nC. Three.\nD. Four."
    assert samples[0].prompt == (
        "Select the best answer to the following multiple-choice question based on the video and the "
        "subtitles. Respond with only the letter (A, B, C, or D) of the correct option.\n"
        "How many Äpfel?\nA. One.\nB. Two.\nC. Three.\nD. Four.\n"
        "\nAnswer with the option's letter from the given choices directly."
    )
    assert [[index_of(frame) for frame in sample.visual()] for sample in samples] == [
        [0, 19, 39, 59], [0, 19, 39, 59], [0, 6, 12, 19], [0, 6, 12, 19],
    ]  # fmt: skip


def test_subtitles(folder):
    with pytest.raises(SettingError, match=r"benchmark.subtitles=True: expected the folder subtitle of sub"):
        videomme(folder, subtitles=True).samples()
    (folder / "subtitle").mkdir()
    (folder / "subtitle" / "fFjv93ACGo8.srt").write_text(SRT, encoding="utf-8")
    plain = videomme(folder)
    benchmark = videomme(folder, subtitles=True)
    first, _, other, _ = benchmark.samples()
    # Six frames a second, of which 0, 19, 39 and 59 are taken: 0 s, 3.2 s, 6.5 s, 9.8 s.
    assert first.prompt.startswith(
        "This video's subtitles are listed below: \nat the beginning\nlate\nSelect the best answer"
    )
    assert first.prompt.endswith("\nD. Four.\nThe best answer is:")
    assert other.prompt.startswith("This video's subtitles are listed below: \nNo subtitles available\nSel")
    # Of 0, 8, 16, 25, 33, 42, 50 and 59 the frames 8 and 16 are within one and three seconds.
    eight = videomme(folder, subtitles=True, frames=8).samples()[0]
    assert "\nat the beginning\ntwo lines, of which this is one — ü\nlate\nSelect" in eight.prompt
    assert benchmark.fingerprint() != plain.fingerprint()
    (folder / "subtitle" / "N1cdUjctpG8.srt").write_text("1\n0:00 --> 0:01\nx\n")
    with pytest.raises(UserError, match=r"N1cdUjctpG8.srt: '0:00 --> 0:01': expected 00:00:00,000 -->"):
        videomme(folder, subtitles=True).samples()


def test_a_missing_video_with_subtitles(folder):
    """Which subtitles are shown cannot be told, and need not: the sample is left out or ends the run."""
    (folder / "subtitle").mkdir()
    (folder / "subtitle" / "fFjv93ACGo8.srt").write_text(SRT, encoding="utf-8")
    (folder / "data" / "fFjv93ACGo8.mp4").unlink()
    sample = videomme(folder, subtitles=True).samples()[0]
    with pytest.raises(DataError, match=r"data/fFjv93ACGo8.mp4 is missing"):
        sample.visual()


def test_the_prompt_for_llava_next_video(folder):
    assert videomme(folder, prompt_for="llava_vid").samples()[0].prompt == (
        "Select the best answer to the following multiple-choice question based on the video and the "
        "subtitles. Respond with only the letter (A, B, C, or D) of the correct option.\n"
        "How many Äpfel?\nA. One.\nB. Two.\nC. Three.\nD. Four.\nThe best answer is:"
    )
    with pytest.raises(SettingError, match="prompt_for=gpt4v: expected default, llava_vid or null"):
        videomme(folder, prompt_for="gpt4v")


def test_scores(folder):
    benchmark = videomme(folder)
    answers = answered(benchmark, PREDICTIONS)
    assert [answer.answer for answer in answers] == ["C", "A", "D", ""]
    assert [benchmark.parse(None, text) for text in ("Answer: B", "The answer: D, not A")] == ["B", "A"]


def test_the_rule_up_to_0_7_1(folder):
    benchmark = videomme(folder, protocol_version="0.3.0")
    answers = answered(benchmark, PREDICTIONS)
    # The B of "Best" is a capital from A to D; small letters are none.
    assert [answer.answer for answer in answers] == ["C", "B", "D", ""]
    assert benchmark.metric.of(answers) == pytest.approx(2 / 4)
    assert benchmark.metric.by_kind(answers) == {
        "short": 0.5, "medium": 1, "long": 0, "Knowledge": 0.5, "Life Record": 1, "Multilingual": 0,
        "Counting Problem": 1, "Object Reasoning": 0, "OCR Problems": 0,
    }  # fmt: skip
    assert benchmark.parse(None, "The answer: D, not A") == "D"
    assert benchmark.parse(None, "Answer: B") == "A"
    assert benchmark.parse(None, "") == ""


def rewritten(folder, **changes):
    """The folder with another first row."""
    row = {
        "question_id": "001-1", "videoID": "fFjv93ACGo8", "duration": "short", "domain": "Knowledge",
        "task_type": "Counting Problem", "question": "?", "options": OPTIONS, "answer": "C",
    }  # fmt: skip
    write_parquet(folder / "videomme" / "test-00000-of-00001.parquet", [row | changes] * 2)
    return videomme(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer": "E"}, r"row group 0, row 0: answer='E': expected one of A, B, C, D"),
        ({"answer": "AB"}, r"answer='AB': expected one of A, B, C, D"),
        ({"videoID": "../../../x"}, r"data/../../../x.mp4' leads out of"),
        ({"options": []}, r"options=\[\]: expected two to 26 texts"),
        ({}, r"duplicate ids 001-1"),
    ],
)
def test_rows_that_are_not_right(folder, changes, message):
    with pytest.raises(UserError, match=message):
        rewritten(folder, **changes).samples()


def test_settings_that_are_not_right(tmp_path):
    with pytest.raises(SettingError, match=r"subtitles=yes: expected one of True, False"):
        videomme(tmp_path, subtitles="yes")
    with pytest.raises(SettingError, match=r"expected a folder with videomme/test-\*.parquet \(https"):
        videomme(tmp_path).samples()
    with pytest.raises(UserError, match=r"4 samples, but the official files have 2700"):
        videomme(write_hub(tmp_path), check_count=True).samples()


def test_end_to_end(tmp_path, folder, tmp_path_factory):
    model = save("llava_next_video", tmp_path_factory.mktemp("model"))
    (folder / "data" / "-a_b.MP4").write_bytes(b"not a video")
    process = run_benchmark(
        "videomme", tmp_path, f"data={folder.parent}", f"model.path={model}", "benchmark.frames=2",
        "benchmark.on_error=skip", "budget=0.25",
    )  # fmt: skip
    _, result, records = finished(process)
    used = result["cell"]["benchmark_settings"]
    assert (used["prompt_for"], used["protocol_version"]) == ("llava_vid", "0.7.3")
    assert [record["id"] for record in records] == ["001-1", "001-2", "301-1"]
    assert all((record["visual"], record["kept"]) == (32, 8) for record in records)
    assert result["accuracy"]["skipped"] == 1
    assert {"short", "medium", "Knowledge", "Counting Problem"} <= result["accuracy"]["by_kind"].keys()
