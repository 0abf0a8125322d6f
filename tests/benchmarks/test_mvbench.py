"""MVBench: both layouts of its videos, and with it what the video benchmarks share."""

from __future__ import annotations

import json
import re

import pytest
from families import save
from official import answered, finished, run_benchmark, write_json
from videos import coded, index_of, write_video

from script_exp.benchmarks import METRICS
from script_exp.benchmarks.mvbench import TASKS, Mvbench
from script_exp.errors import DataError, SettingError, UserError

TAKEN = ["The clothes.", "The pillow.", "The shoe.", "The phone/camera."]
ROWS = [  # task, whole video, start and end, cut video, question, options, answer
    ("action_sequence", "ZS9XR.mp4", (2, 6), "ZS9XR_2_6.mp4", "What happened?", TAKEN, "The shoe."),
    ("action_sequence", "ZS9XR.mp4", (0, 3), "ZS9XR_0_3.mp4", "What happened before?", TAKEN, "The pillow."),
    ("object_interaction", "USNP1.mp4", (1, 9), "USNP1_1_9.mp4", "Which was taken?", TAKEN, "The clothes."),
    ("action_antonym", "1665.webm", None, "1665.mp4", "What is it?", ["Putting", "Not sure"], "Not sure"),
    ("moving_count", "video_1.mp4", None, "video_1.mp4", "How many café cups?", ["3", "1", "0"], "0"),
    ("episodic_reasoning", "friends_clip_07", (1, 3), "friends_clip_07.mp4", "Why?", list("vwxyz"), "z"),
]  # fmt: skip
IDS = [
    "action_sequence-0", "action_sequence-1", "action_antonym-0", "object_interaction-0", "moving_count-0",
    "episodic_reasoning-0",
]  # fmt: skip
LETTERS = ["C", "B", "B", "A", "C", "E"]  # in the order of the ids, as the tasks are in the paper
PREDICTIONS = ["(C) The shoe.", "B. the clothes", "not sure", "A man took the (B) pillow", "3", "e"]


def _write_json(root, whole):
    for task in {row[0] for row in ROWS}:
        entries = []
        for _, video, bound, cut, question, options, answer in (row for row in ROWS if row[0] == task):
            entry = {"video": video if whole else cut, "question": question, "candidates": options}
            if bound:
                entry |= {"start": float(bound[0]), "end": float(bound[1])}
            entries.append(entry | {"answer": answer, "question_id": "T1_13"})
        write_json(root / "json" / f"{task}.json", entries)


def write_whole(root):
    """The main revision, its archives unpacked in the folder video."""
    _write_json(root, whole=True)
    videos = root / "video"
    write_video(videos / "star/Charades_v1_480/ZS9XR.mp4", frames=60)
    write_video(videos / "data0613/star/Charades_v1_480/USNP1.mp4", frames=60, keyframes=5)
    write_video(videos / "ssv2_video/1665.webm", codec="libvpx-vp9")
    write_video(videos / "clevrer/video_validation/video_1.mp4")
    folder = videos / "tvqa/frames_fps3_hq/friends_clip_07"
    folder.mkdir(parents=True)
    for number in range(1, 13):
        coded(number).save(folder / f"{number:05d}.jpg")
    return root


def write_cut(root):
    """The revision video: everything beside the folder json, and cut."""
    _write_json(root, whole=False)
    write_video(root / "star/Charades_segment/ZS9XR_2_6.mp4", frames=25)
    write_video(root / "star/Charades_segment/ZS9XR_0_3.mp4", frames=19)
    write_video(root / "data0613/star/Charades_segment/USNP1_1_9.mp4", frames=49)
    write_video(root / "ssv2_video_mp4/1665.mp4")
    write_video(root / "clevrer/video_validation/video_1.mp4")
    write_video(root / "tvqa/video_fps3_hq_segment/friends_clip_07.mp4", frames=7, rate=3)
    return root


@pytest.fixture(params=[write_whole, write_cut])
def folder(request, tmp_path):
    return request.param(tmp_path / "data" / "mvbench")


def mvbench(folder, **settings):
    return Mvbench(**{"data": str(folder), "check_count": False, "frames": 3} | settings)


def test_samples(folder):
    samples = mvbench(folder).samples()
    assert [sample.id for sample in samples] == IDS
    assert [sample.references for sample in samples] == [(letter,) for letter in LETTERS]
    assert samples[0].question == (
        "What happened?\n(A) The clothes.\n(B) The pillow.\n(C) The shoe.\n(D) The phone/camera."
    )
    assert samples[4].prompt == (
        "Question:How many café cups?\nOption:\n(A) 3\n(B) 1\n(C) 0\nOnly give the best option.\n"
    )
    assert [sample.kind for sample in samples] == [name.rsplit("-", 1)[0] for name in IDS]
    assert mvbench(folder).max_new_tokens == 16
    assert len(TASKS) == 20


def test_the_parts_that_are_meant(tmp_path):
    """Seconds 2 to 6 of six frames a second; three pictures a second, of which the first is at 1/3 s."""
    whole = [[index_of(f) for f in s.visual()] for s in mvbench(write_whole(tmp_path / "whole")).samples()]
    assert len({s.unit for s in mvbench(tmp_path / "whole").samples()}) == 6  # two parts of one video
    assert whole == [[12, 24, 36], [0, 9, 18], [0, 5, 11], [6, 30, 54], [0, 5, 11], [3, 6, 9]]
    cut = [[index_of(f) for f in s.visual()] for s in mvbench(write_cut(tmp_path / "cut")).samples()]
    assert cut == [[0, 12, 24], [0, 9, 18], [0, 5, 11], [0, 24, 48], [0, 5, 11], [0, 3, 6]]


def test_scores(folder):
    benchmark = mvbench(folder)
    answers = answered(benchmark, PREDICTIONS)
    # "A man took": the article is the first letter that stands alone.
    assert [answer.answer for answer in answers] == ["C", "B", "", "A", "", "E"]
    assert [answer.score for answer in answers] == [1, 1, 0, 1, 0, 1]
    # Tasks count alike: action_sequence 1, the others 0, 1, 0, 1.
    assert benchmark.metric.of(answers) == pytest.approx(3 / 5)
    assert benchmark.metric.by_kind(answers)["action_sequence"] == 1
    assert METRICS["mvbench_average"].of(answers) == pytest.approx(3 / 5)


@pytest.mark.parametrize(
    ("prediction", "letter"),
    [
        ("B", "B"), ("b.", "B"), ("(b)", "B"), ("C. ", "C"), ("c.The shoe", "C"), ("D) it", "D"),
        ("'E'", "E"), ("né B", "B"), ("(A/B)", "A"), ("Answer: B", "B"),
        ("The best option is (B) x", "B"), ("B,C", "B"), ("F", ""), ("", ""), ("Best", ""),
        ("it's a cat", "A"), ("option\nC", "C"), ("A.\nnot", "A"),
    ],
)  # fmt: skip
def test_the_letter(tmp_path, prediction, letter):
    benchmark = mvbench(tmp_path)
    assert benchmark.parse(None, prediction) == letter


def broken(folder, change):
    """The folder with one entry of action_sequence changed."""
    file = folder / "json" / "action_sequence.json"
    entries = json.loads(file.read_text())
    change(entries)
    file.write_text(json.dumps(entries))
    return mvbench(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e[0].update(answer="The cup."), r"entry 0: answer='The cup.': expected one of 'The cl"),
        (lambda e: e[1].update(candidates=["x"]), r"entry 1: candidates=\['x'\]: expected two to 26"),
        (lambda e: e[1].update(candidates="xy"), r"entry 1: candidates='xy': expected list"),
        (lambda e: e[0].pop("question"), r"entry 0: no 'question' among video, candidates"),
        (lambda e: e[0].update(video="../../../../x.mp4"), r"entry 0: .*x.mp4' leads out of"),
        (lambda e: e[0].update(video="/etc/passwd.mp4/../../../../../.."), r"leads out of"),
        (lambda e: e[0].pop("end"), r"entry 0: no 'end' among"),
        (lambda e: e[0].update(start=7.0), r"entry 0: start=7.0, end=6.0: expected 0 <= start <= end"),
        (lambda e: e.append(3), r"entry 2: expected an object with 'question', got 3"),
    ],
)
def test_entries_that_are_not_right(tmp_path, change, message):
    benchmark = broken(write_whole(tmp_path), change)
    with pytest.raises(UserError, match=message):
        benchmark.samples()


def test_an_unknown_task(tmp_path):
    write_cut(tmp_path)
    write_json(tmp_path / "json" / "action_sequences.json", [])
    with pytest.raises(UserError, match=r"action_sequences.json: expected the name of a task: action_sequ"):
        mvbench(tmp_path).samples()


def test_settings_that_are_not_right(tmp_path):
    for key, value, message in [
        ("protocol", "llava", "protocol=llava: expected one of lmms"),
        ("frames", 0, "frames=0: expected a whole number >= 1"),
        ("frames", 2.5, "frames=2.5: expected a whole number >= 1"),
        ("frames", {"rate": 2}, r"frames={'rate': 2}: expected a whole number, or fps with min_frames"),
        ("frames", {"fps": 0}, r"frames\.fps=0: expected a number > 0"),
        (
            "frames",
            {"fps": 1, "min_frames": 9, "max_frames": 8},
            r"max_frames=8: expected a whole .* >= 9",
        ),
    ]:
        with pytest.raises(SettingError, match=message):
            mvbench(tmp_path, **{key: value})
    with pytest.raises(SettingError, match=r"benchmark.data=.*: expected a folder with json/\*.json \(https"):
        mvbench(tmp_path).samples()
    with pytest.raises(SettingError, match=r"frames=None: expected a whole number"):
        mvbench(write_cut(tmp_path), frames=None).samples()
    with pytest.raises(UserError, match=r"6 samples, but the official files have 4000"):
        mvbench(write_cut(tmp_path), check_count=True).samples()


def test_videos_that_are_missing_or_broken(folder):
    samples = mvbench(folder).samples()
    video = next(folder.rglob("video_1.mp4"))
    video.write_bytes(video.read_bytes()[:200])
    with pytest.raises(DataError, match=r"clevrer/video_validation/video_1.mp4 does not decode"):
        samples[4].visual()
    video.unlink()
    with pytest.raises(DataError, match=r"clevrer/video_validation/video_1.mp4 is missing"):
        samples[4].visual()
    assert mvbench(folder).samples()[4].id == "moving_count-0"  # what to do about it is up to the run


def test_end_to_end(tmp_path, tmp_path_factory):
    folder = write_whole(tmp_path / "data" / "mvbench")
    model = save("llava_next_video", tmp_path_factory.mktemp("model"))
    write_json(model / "video_preprocessor_config.json", {"num_frames": 4})
    next(folder.rglob("video_1.mp4")).unlink()
    arguments = [
        f"data={folder.parent}", f"model.path={model}", "budget=5", "batch_size=3", "benchmark.on_error=skip",
    ]  # fmt: skip
    run_dir, result, records = finished(run_benchmark("mvbench", tmp_path, *arguments))
    assert [record["id"] for record in records] == [name for name in IDS if name != "moving_count-0"]
    assert result["cell"]["benchmark_settings"]["frames"] == 4  # as the model's config says
    for record in records:  # 16 pooled patches of each of four frames, of which five stay
        assert (record["crops"], record["budget_crops"]) == (4, 4)
        assert (record["visual"], record["kept"]) == (64, 20)
    accuracy = result["accuracy"]
    assert (accuracy["metric"], accuracy["n"], accuracy["skipped"]) == ("mvbench_average", 5, 1)
    assert accuracy["by_kind"].keys() == {name.rsplit("-", 1)[0] for name in IDS} - {"moving_count"}
    (skipped,) = map(json.loads, (run_dir / "skipped.jsonl").read_text().splitlines())
    assert skipped["id"] == "moving_count-0"
    assert "video_1.mp4 is missing" in skipped["why"]
    # Another number of frames is another run.
    other = run_benchmark("mvbench", tmp_path, *arguments, "benchmark.frames=2")
    assert finished(other)[0] != run_dir


def test_more_frames_than_the_llm_has_positions_for(tmp_path, tmp_path_factory):
    folder = write_whole(tmp_path / "data" / "mvbench")
    model = save("llava_next_video", tmp_path_factory.mktemp("model"))
    config = json.loads((model / "config.json").read_text())
    config["text_config"] |= {"max_position_embeddings": 250}
    write_json(model / "config.json", config)
    arguments = [f"data={folder.parent}", f"model.path={model}", "benchmark.frames=16"]
    message = r"error: benchmark.frames=16: expected at most 15 for pruner=none: a frame has 16 tokens and"
    for method in (["pruner=none"], ["pruner=random", "budget=2", "unpruned=run"]):
        process = run_benchmark("mvbench", tmp_path, *arguments, *method)
        assert process.returncode == 2
        assert re.search(message, process.stderr), process.stderr
    finished(run_benchmark("mvbench", tmp_path, *arguments, "pruner=random", "budget=2"))
    stretched = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10_000.0}
    config["text_config"]["rope_parameters"] = stretched
    write_json(model / "config.json", config)
    finished(run_benchmark("mvbench", tmp_path, *arguments, "pruner=none", "limit=2"))
