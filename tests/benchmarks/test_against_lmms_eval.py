"""``protocol=lmms`` against lmms-eval's own tasks on the same data: prompt by prompt and score by score."""

from __future__ import annotations

import lmms_installed  # noqa: F401

# isort: split

import copy
import json
from functools import partial
from pathlib import Path

import gqa_data
import lmms_eval.api.metrics  # registers them
import pyarrow.parquet
import pytest
import test_longvideobench
import test_mlvu
import test_mmbench
import test_mme
import test_mmvet
import test_mvbench
import test_pope
import test_scienceqa
import test_textvqa
import test_videomme
import test_vizwiz
import vqav2_data
from datasets import Dataset, DatasetDict, Image
from lmms_eval.api.task import ConfigurableTask
from lmms_eval.utils import load_yaml_config
from official import answered, cell

from script_exp.benchmarks.lmms import LmmsTask
from script_exp.cell.build import build_benchmark
from script_exp.config.benchmark_config import benchmark_config

# Our benchmark: what writes its files, which of them are lmms-eval's, its task, and the task's number.
HELD = {
    "gqa": (gqa_data.write_hub, "*instructions*/*", "gqa/gqa.yaml", "exact_match"),
    "pope": (test_pope.write_hub, "data/*", "pope/pope.yaml", "pope_f1_score"),
    "textvqa": (test_textvqa.write_hub, "data/*", "textvqa/textvqa_val.yaml", "exact_match"),
    "vqav2_val": (vqav2_data.write_hub, "data/*", "vqav2/vqav2_val.yaml", "exact_match"),
    "vizwiz": (test_vizwiz.write_hub, "data/*", "vizwiz_vqa/vizwiz_vqa_val.yaml", "exact_match"),
    "scienceqa": (test_scienceqa.write_hub, "*IMG/test*", "scienceqa/scienceqa_img.yaml", "exact_match"),
    "mme": (test_mme.write_hub, "data/*", "mme/mme.yaml", "mme_perception_score"),
    "mmbench": (test_mmbench.write_hub, "en/*", "mmbench/mmbench_en_dev_static.yaml", None),
    "mmbench_cn": (
        partial(test_mmbench.write_hub, language="cn"), "cn/*", "mmbench/mmbench_cn_dev.yaml", None
    ),
    "mmvet": (test_mmvet.write_hub, "data/*", "mmvet/mmvet.yaml", None),  # a judge scores
    "videomme": (test_videomme.write_hub, "videomme/*", "videomme/videomme.yaml", None),
    "longvideobench": (
        test_longvideobench.write_hub, "*.parquet", "longvideobench/longvideobench_val_v.yaml", None
    ),
    "mlvu": (test_mlvu.write_hub, "mlvu/*", "mlvu/mlvu_dev.yaml", None),
}  # fmt: skip
# What models say besides the right answers.
SAID = (
    "Yes", "no.", "NO", "y", "Yes, there is.", "not at all", "A", "b", "B.", "(C) The shoe.", "C. 3:1",
    "The answer is A.", "At the table.", "two", "Two.", "1,000", "the logo", "unanswerable", "don't know", "",
    "  woman ", "T-shirt",
)  # fmt: skip
GUESSED = "guessed"


class Made(ConfigurableTask):
    """A task of lmms-eval whose documents are in local files."""

    def __init__(self, file, documents, model_name="script_exp"):
        self._documents = documents
        path = Path(lmms_eval.__file__).parent / "tasks" / file
        config = load_yaml_config(str(path), mode="full")
        config["process_docs"] = None  # joins the images of GQA
        super().__init__(config=config, model_name=model_name)

    def download(self, dataset_kwargs=None):
        split = self.config.test_split
        self.dataset = self.dataset_no_image = DatasetDict({split: self._documents})

    def results(self, document, said):
        """What each metric aggregates."""
        return self.process_results(copy.deepcopy(document), [said])


def documents(folder, pattern):
    rows = [
        row for file in sorted(folder.glob(pattern)) for row in pyarrow.parquet.read_table(file).to_pylist()
    ]
    table = Dataset.from_list(rows)
    return table.cast_column("image", Image()) if "image" in rows[0] else table


def score(task, row, said):
    """What lmms-eval gives a prediction, for a question of its own; None if it guesses."""
    value = next(iter(task.results(row, said).values()))
    if "mmbench" in task.config.task:  # only answers to all orders of the options have a score
        judge = task.config.process_results.__globals__["mmbench_evaluator"]
        return judge.eval_result([value | {"index": int(value["index"])}], "static")[0]
    if not isinstance(value, dict):
        return value
    answer = value.get("pred_answer", value.get("parsed_pred"))
    return None if answer is GUESSED else float(value.get("score", answer == value.get("answer")))


@pytest.fixture(autouse=True)
def guesses(monkeypatch):
    """LongVideoBench guesses at random: here always the same, which is none of the letters."""
    monkeypatch.setattr("random.choice", lambda choices: GUESSED)


@pytest.mark.parametrize("name", HELD)
def test_prompts_and_scores(name, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")  # that of a judge, which is not asked
    write, pattern, file, metric = HELD[name]
    folder = write(tmp_path / name)
    settings = benchmark_config(name) | {"data": str(folder), "check_count": False, "protocol": "lmms"}
    ours = build_benchmark(settings | ({"frames": 2} if "frames" in settings else {}))
    rows = documents(folder, pattern)
    task = Made(file, rows)
    check(ours, task, list(zip(ours.samples(), rows, strict=True)))
    if metric is None:
        return
    said = sorted(SAID)
    for turn in range(3):  # the official number of one prediction per question
        given = [said[(place * 7 + turn) % len(said)] for place in range(len(rows))]
        results = [task.results(row, text) for row, text in zip(rows, given, strict=True)]
        theirs = task.aggregation()[metric]([result[metric] for result in results if metric in result])
        assert ours.metric.of(answered(ours, given)) == pytest.approx(theirs)


def test_the_subtasks_of_mvbench(tmp_path):
    ours = build_benchmark(
        benchmark_config("mvbench")
        | {"data": str(test_mvbench.write_cut(tmp_path)), "check_count": False, "frames": 2}
    )
    for name in sorted({sample.id.rpartition("-")[0] for sample in ours.samples()}):
        rows = Dataset.from_list(json.loads((tmp_path / "json" / f"{name}.json").read_text()))
        task = Made(f"mvbench/mvbench_{name}.yaml", rows)
        samples = [sample for sample in ours.samples() if sample.id.startswith(f"{name}-")]
        check(ours, task, list(zip(samples, rows, strict=True)))


def test_a_task_as_a_benchmark():
    """MMStar has a metric for each category, and an average over them that is no mean of the scores."""
    asked = [("math", "geometry"), ("math", "numeric commonsense and calculation"), ("math", "geometry")]
    rows = [
        {"index": n, "question": f"How many are {n}? A: 1, B: 2", "answer": "AB"[n % 2], "category": category,
         "l2_category": part, "image": {"bytes": cell(str(n // 2))["bytes"], "path": None}}
        for n, (category, part) in enumerate([*asked, ("coarse perception", "image emotion")])
    ]  # fmt: skip
    task = Made("mmstar/mmstar.yaml", Dataset.from_list(rows).cast_column("image", Image()))
    ours = LmmsTask(task="mmstar")
    ours.__dict__["_task"] = task
    assert ours.in_full({"task": "mmstar"})["score_of"] == "average"
    pairs = list(zip(ours.samples(), rows, strict=True))
    check(ours, task, pairs, lambda row, text: task.results(row, text)["average"])
    assert [sample.unit for sample in ours.samples()[:2]] == [ours.samples()[0].unit] * 2
    assert len({sample.unit for sample in ours.samples()}) == 2
    given = ["A", "B", "C", "The answer is B."]
    answers = answered(ours, given)
    results = [task.results(row, text) for row, text in zip(rows, given, strict=True)]
    numbers = ours.metric.by_kind(answers)
    for name, aggregate in task.aggregation().items():
        given = [result[name] for result in results if name in result]
        if given:
            assert numbers[f"lmms-eval {name}"] == aggregate(given)
    assert ours.metric.of(answers) == 0.75 != numbers["lmms-eval average"]


def check(ours, task, pairs, scored=None):
    for sample, row in pairs:
        assert sample.prompt == task.doc_to_text(row)
    assert ours.max_new_tokens == task.config.generation_kwargs.get("max_new_tokens", 1024)
    if ours.name == "mmvet":
        return
    for sample, row in pairs:
        if "mmbench" in ours.name and int(sample.id) >= 1_000_000:
            continue  # another order of the options
        for text in {*SAID, *sample.references}:
            own = ours.score(sample, ours.parse(sample, text))
            theirs = score(task, row, text) if scored is None else scored(row, text)["score"]
            assert theirs is None or own == pytest.approx(theirs), (sample.id, sample.references, text)
