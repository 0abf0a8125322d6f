"""The model for lmms-eval without lmms-eval: a stand-in for its base class, its requests and its tasks."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import PackageNotFoundError
from types import ModuleType, SimpleNamespace

import pytest
from families import save
from lmms_tasks import POST, SCENES, questions
from official import finished, write_json
from PIL import Image
from processes import run
from videos import write_video

from script_exp.benchmarks.reading.frames import video_frames
from script_exp.benchmarks.reading.lmms_eval import new_tokens, until
from script_exp.cell.answer import Answering
from script_exp.cell.build import build_benchmark
from script_exp.config.benchmark_config import benchmark_config
from script_exp.errors import SettingError, UserError
from script_exp.lmms.arguments import read_arguments
from script_exp.lmms.asked import sample_of

ARGUMENTS = {"pretrained": "embedded", "pruner": "script", "budget": 48, "batch_size": "4", "device": "cpu"}


class Task:
    """What the model sees of a task: its type, its prompts and its documents."""

    def __init__(self, post="", visuals=1, output_type="generate_until"):
        self.OUTPUT_TYPE, self.visuals = output_type, visuals
        self.lmms_eval_specific_kwargs = {"pre_prompt": "", "post_prompt": post}
        self.documents = questions()

    def doc_to_visual(self, sample):
        return [sample.visual()] * self.visuals

    def requests(self, name="shapes", **settings):
        settings = {"max_new_tokens": 4, "until": ["\n\n"]} | settings
        post = self.lmms_eval_specific_kwargs["post_prompt"]
        return [
            SimpleNamespace(args=(sample.prompt + post, settings, self.doc_to_visual, number, name, "test"))
            for number, sample in enumerate(self.documents)
        ]


class Base:
    def __init__(self):
        self.rank, self.task_dict = 0, {}


@pytest.fixture
def model(monkeypatch):
    """The class, imported with a stand-in for the package that it extends."""
    names = ("lmms_eval", "lmms_eval.api", "lmms_eval.api.model")
    for name in names:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules[names[-1]].lmms = Base
    monkeypatch.delitem(sys.modules, "script_exp.lmms.model", raising=False)
    module = importlib.import_module("script_exp.lmms.model")
    monkeypatch.setattr(module, "installed_release", lambda: "0.7.3")
    yield module.ScriptExp
    del sys.modules["script_exp.lmms.model"]


def test_answers_are_those_of_a_run(model, tmp_path, capsys):
    process = run(
        f"benchmark.scenes={SCENES}", "pruner=script", "budget=48", "batch_size=4", "latency=off",
        "unpruned=off", f"outputs={tmp_path}",
    )  # fmt: skip
    _, _, records = finished(process)
    expected = {record["id"]: record["prediction"] for record in records}
    made, task = model(**ARGUMENTS), Task()
    made.task_dict = {"shapes": {"test": task.documents}}
    requests = task.requests()
    answers = made.generate_until([*requests, requests[-1]])  # as a process with fewer questions gets them
    assert answers == [*(expected[sample.id] for sample in task.documents), expected[task.documents[-1].id]]
    assert len(made._cell.features()._features) == SCENES  # each image was encoded once

    for other, name, message in (
        (Task(output_type="generate_until_agentic"), "shapes", "--tasks=shapes: expected tasks of the type"),
        (Task(visuals=0), "shapes", "shapes/test/0 has no images: expected one or several"),
        (Task(), "others", "--tasks=shapes: expected tasks of the type"),  # its requests come later
    ):
        made.task_dict |= {"others": {"test": other.documents}} if name == "others" else {}
        refused(2, message, lambda: made.generate_until(other.requests(name)), capsys)  # noqa: B023
        made.task_dict.pop("others", None)
    refused(2, "loglikelihood and multiple_choice are not", lambda: made.loglikelihood([]), capsys)
    refused(2, "_multi_round are not", lambda: made.generate_until_multi_round([]), capsys)
    sampled = task.requests(temperature=0.7)
    refused(2, "temperature=0.7 of shapes: expected greedy", lambda: made.generate_until(sampled), capsys)
    made.task_dict = {"shapes": {"test": None}}
    refused(1, "TypeError", lambda: made.generate_until(requests), capsys)
    refused(2, "budget=900: expected", lambda: model(**ARGUMENTS | {"budget": 900}), capsys)


@pytest.mark.parametrize("pruner", ["script", "visionzip", "random"])
def test_several_images(model, pruner, capsys):
    """Each is pruned by itself, and they come before the question, in order."""
    made, task = model(**ARGUMENTS | {"pruner": pruner}), Task()
    last = task.documents[-1]
    task.doc_to_visual = lambda sample: [sample.visual(), last.visual()]
    made.task_dict = {"shapes": {"test": task.documents}}
    requests = task.requests()[:3]
    answers = made.generate_until(requests)
    own, expected = made._model, []
    for number, sample in enumerate(task.documents[:3]):
        prompt = own.chat_prompt("TEXT", 2)
        assert prompt.index(own.processing.mark) < prompt.rindex(own.processing.mark) < prompt.index("TEXT")
        inputs = own.preprocess([[sample.visual(), last.visual()]], [prompt.replace("TEXT", sample.prompt)])
        images = own.encode_images(inputs, made._cell.pruner.reads)
        queries = own.encode_queries([sample.query]) if made._cell.pruner.needs_query else None
        pruned = own.prune(inputs, images, made._cell.pruner, queries, keys=[f"shapes/test/{number}"])
        assert pruned.entering == [96]
        expected.append(own.generate(pruned, 4).texts[0])
    assert answers == expected
    unpruned = model(**ARGUMENTS | {"pruner": "none"})
    unpruned.task_dict = made.task_dict
    refused(2, "positions, and the LLM has 1,024", lambda: unpruned.generate_until(requests), capsys)


@pytest.mark.parametrize("pruner", ["fastv", "composed"])
def test_several_images_of_several_crops_inside_the_llm(model, pruner, tmp_path):
    """What the record says was kept is counted image by image, crop by crop."""
    arguments = {"model": "tiny", "pretrained": save("llava_next", tmp_path), "pruner": pruner, "budget": 6}
    made, task = model(**arguments, device="cpu", batch_size=2), Task()
    task.doc_to_visual = lambda sample: [Image.new("RGB", (60, 30), "red"), Image.new("RGB", (30, 30))]
    made.task_dict = {"shapes": {"test": task.documents}}
    kept = []
    records = Answering.answer

    def watched(self, batches):
        for batch in records(self, batches):
            kept.extend(batch)
            yield batch

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Answering, "answer", watched)
        made.generate_until(task.requests()[:3])
    for record in kept:
        assert len(record.kept_indices) == record.crops > 2
        assert sum(record.kept_by_crop) == sum(map(len, record.kept_indices)) == record.kept


def test_videos(model, tmp_path):
    """Frames as many as the checkpoint says; the answers are those of one question at a time."""
    folder = save("llava_next_video", tmp_path / "model")
    write_json(folder / "video_preprocessor_config.json", {"num_frames": 4})
    videos = [write_video(tmp_path / "a.mp4", frames=20), write_video(tmp_path / "b.mp4", frames=30)]
    arguments = {"model": "tiny", "pretrained": folder, "modality": "video", "pruner": "stride", "budget": 5}
    made = model(**arguments, device="cpu", batch_size=2)
    made.task_dict = {"clips": {"test": videos}}
    requests = [
        SimpleNamespace(
            args=(text, {"max_new_tokens": 3}, lambda video: [str(video)], number, "clips", "test")
        )
        for number, text in enumerate(("What happens?", "Why?"))
    ]
    own, expected = made._model, []
    for request, video in zip(requests, videos, strict=True):
        frames = video_frames(tmp_path, video.name, "", 4)()
        inputs = own.preprocess([[frames]], [own.chat_prompt(request.args[0])])
        images = own.encode_images(inputs)
        assert images[0].crops == 4
        expected.append(own.generate(own.prune(inputs, images, made._cell.pruner), 3).texts[0])
    assert made.generate_until(requests) == expected


def refused(code, message, work, capsys):
    with pytest.raises(SystemExit) as ended:
        work()
    assert ended.value.code == code
    assert message in capsys.readouterr().err


def test_arguments():
    read = read_arguments(
        {
            "pretrained": "/models/llava-1.5-7b-hf", "clip": "/models/clip", "pruner": "script",
            "pruner.graph.threshold": 0.3, "budget": 0.25, "model.positions": "preserved",
            "question": "prompt", "max_batch_size": None, "batch_size": "auto",
        }
    )  # fmt: skip
    settings = read.settings
    assert (settings.model.name, settings.model.path) == ("llava_1_5_7b", "/models/llava-1.5-7b-hf")
    assert (settings.model.clip, settings.model.positions) == ("/models/clip", "preserved")
    assert (settings.pruner["graph"]["threshold"], settings.budget) == (0.3, 0.25)
    assert (settings.batch_size, read.question) == ("auto", "prompt")
    given = {"pretrained": "/my/video", "model": "llava_next_video_7b", "modality": "video", "frames": 8}
    video = read_arguments(given).settings
    assert (video.model.name, video.model.path) == ("llava_next_video_7b", "/my/video")
    assert (video.benchmark["frames"], video.pruner["name"]) == (8, "none")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"prunner": "script"}, "model_args.prunner=script: expected one of the keys .*did you mean pruner"),
        ({"pruner": "skript"}, "pruner=skript: expected one of .*did you mean script"),
        ({"pruner": "script", "pruner.graph.treshold": 1}, "pruner.graph.treshold=1: expected .*threshold"),
        ({"pretrained": "/my/llava"}, "pretrained=/my/llava: expected it together with model=, one of "),
        ({"question": "all"}, "question=all: expected one of bare, prompt"),
        ({"modality": "sound"}, "modality=sound: expected one of image, video"),
        ({"frames": 8}, "frames=8: expected it together with modality=video"),
        ({"batch_size": "many"}, "batch_size=many: expected a whole number"),
        ({"budget": -1}, "budget=-1: expected"),
    ],
)
def test_arguments_that_are_not_right(wrong, message):
    with pytest.raises(UserError, match=message):
        read_arguments({"model": "tiny"} | wrong if "pretrained" not in wrong else wrong)


def test_what_is_asked():
    task = Task(post=POST)
    request = task.requests()[0]
    sample = task.documents[0]
    bare = sample_of(request, task.documents, "bare", None)
    assert (bare.question, bare.prompt) == (sample.question, sample.question + POST)
    assert (bare.id, bare.visual().size) == ("shapes/test/0", sample.visual().size)
    assert sample_of(request, task.documents, "prompt", None).question == sample.question + POST
    same, other = (sample_of(task.requests()[n], task.documents, "bare", None) for n in (1, -1))
    assert bare.unit == same.unit != other.unit
    with pytest.raises(
        UserError, match="shapes/test/0 has a Image as its visual: expected the path of a video"
    ):
        sample_of(request, task.documents, "bare", 4)
    task.doc_to_visual = None
    clip = SimpleNamespace(args=("Why?", {}, lambda document: ["/videos/a.mp4"], 0, "clips", "test"))
    assert sample_of(clip, [None], "bare", 4).unit == "/videos/a.mp4"
    silent = SimpleNamespace(args=(" <image>", *clip.args[1:]))
    with pytest.raises(UserError, match="clips/test/0 has no text: expected a question"):
        sample_of(silent, [None], "bare", 4)
    with pytest.raises(UserError, match="expected an image; modality=video takes videos"):
        sample_of(clip, [None], "bare", None)


def test_length_and_end_of_answers():
    assert new_tokens({}, "a") == 1024
    assert new_tokens({"max_new_tokens": 16, "temperature": 0.2, "do_sample": False}, "a") == 16
    for sampled in ({"temperature": 0.2}, {"do_sample": True}, {"num_beams": 3}):
        with pytest.raises(SettingError, match="greedy"):
            new_tokens(sampled, "a")
    assert until("A\n\nB###C", ["\n\n", "###"]) == "A\n\nB"
    assert until("A B", "B") == "A "
    assert until("A", None) == "A"


def test_another_lmms_eval_or_none(monkeypatch):
    settings = benchmark_config("lmms") | {"task": "mmstar"}
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.0.0")
    with pytest.raises(UserError, match="0 is installed: expected 0"):
        build_benchmark(settings).in_full(settings)

    def missing(name):
        raise PackageNotFoundError

    monkeypatch.setattr("importlib.metadata.version", missing)
    with pytest.raises(UserError, match="lmms-eval is not installed: expected 0"):
        build_benchmark(settings).in_full(settings)


def test_an_image_in_any_mode():
    gray = SimpleNamespace(args=("Why?", {}, lambda image: [image], 0, "a", "test"))
    assert sample_of(gray, [Image.new("L", (2, 3))], "bare", None).visual().mode == "RGB"
