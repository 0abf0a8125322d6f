"""Both directions with lmms-eval itself: its tasks answered by our loop, and its tasks as our benchmark."""

from __future__ import annotations

import lmms_installed  # noqa: F401

# isort: split

import json
import os
import re
import subprocess
import sys

import pytest
from lmms_tasks import SCENES, questions, write_tasks
from official import finished
from processes import ROOT, run, search_path

from script_exp.tiny import WEIGHTS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    return write_tasks(tmp_path_factory.mktemp("tasks"))


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """Predictions of our own runs by id, unpruned and pruned."""
    return {
        pruner: predictions(tmp_path_factory.mktemp("ours"), f"pruner={pruner}", "budget=48", "batch_size=4")
        for pruner in ("none", "script")
    }


def predictions(folder, *arguments):
    process = run(
        f"benchmark.scenes={SCENES}", "latency=off", "unpruned=off", f"outputs={folder}", *arguments
    )
    _, _, records = finished(process)
    return {record["id"]: record["prediction"] for record in records}


def start(tasks, arguments, *options, asked="shapes_local", launcher=(sys.executable,)):
    """The command line in a process of its own."""
    words = [
        *launcher, "-m", "lmms_eval", "--model", "script_exp", "--model_args", arguments, "--tasks", asked,
        "--include_path", tasks, "--log_samples", "--output_path", tasks / "out", "--device", "cpu", *options,
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": search_path(), "HF_DATASETS_OFFLINE": "1"}
    environment |= {"HF_HOME": str(tasks / "home"), "ACCELERATE_USE_CPU": "true"}
    return subprocess.run(
        list(map(str, words)), capture_output=True, text=True, check=False, cwd=tasks, env=environment
    )


def logged(tasks, task="shapes_local"):
    """Answers of the last run by id."""
    files = sorted((tasks / "out").rglob(f"*samples_{task}.jsonl"), key=lambda file: file.stat().st_mtime)
    lines = map(json.loads, files[-1].read_text().splitlines())
    return {questions()[line["doc_id"]].id: line["filtered_resps"] for line in lines}


def test_the_command_line(tasks, ours, tmp_path):
    """Our answers, by two processes; their table; and what is refused ends with another exit code."""
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone")
    arguments = "pretrained=embedded,pruner=script,budget=48"
    process = start(tasks, arguments, "--batch_size", "4", "--limit", "5", launcher=torchrun)
    assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-2000:]
    assert logged(tasks) == dict(list(ours["script"].items())[:5])
    tables = run(tmp_path, "--lmms", tasks / "out", "--figures", "off", script="analysis/make.py")
    assert tables.returncode == 0, tables.stderr
    assert "lmms-shapes_local" in tables.stdout
    process = start(tasks, arguments, asked="shapes_local,shapes_choice")
    assert process.returncode == 2, process.stderr[-2000:]
    assert "error: --tasks=shapes_choice: expected tasks of the type generate_until" in process.stderr


def evaluate(model, tasks, task, **more):
    """The answers by id, in this process."""
    from lmms_eval.evaluator import simple_evaluate
    from lmms_eval.tasks import TaskManager

    manager = TaskManager("ERROR", include_path=str(tasks))
    results = simple_evaluate(
        model=model, tasks=[task], task_manager=manager, device="cpu", bootstrap_iters=0, **more
    )
    lines = results["samples"][task]
    return {questions()[line["doc_id"]].id: line["filtered_resps"][0] for line in lines}


def test_our_loop_and_wrapped_models(tasks, ours, capsys):
    """The answers of lmms-eval's own model, pruned and not, are ours, too."""
    for pruner in ("none", "script"):
        arguments = f"pretrained=embedded,pruner={pruner},budget=48"
        answers = evaluate("script_exp", tasks, "shapes_local", model_args=arguments, batch_size=4)
        assert answers == ours[pruner]
    for task, message in (
        ("shapes_sampled", "expected greedy answers"),
        ("shapes_choice", "loglikelihood and multiple_choice are not pruned"),
    ):
        with pytest.raises(SystemExit) as ended:
            evaluate("script_exp", tasks, task, model_args=arguments)
        assert ended.value.code == 2
        assert message in capsys.readouterr().err
    example = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "lmms_eval.md").read_text(), re.DOTALL)[1]
    names = {}
    exec(example, names)
    place = {"pretrained": str(WEIGHTS), "device": "cpu", "device_map": "cpu"}
    wrapped = names["PrunedLlava"](names["Script"](budget=48), rules={"relevance_sign": 1}, **place)
    assert evaluate(wrapped, tasks, "shapes_local") == ours["script"]
    with pytest.raises(SystemExit) as ended:
        evaluate(wrapped, tasks, "shapes_choice")
    assert ended.value.code == 2


def test_its_tasks_in_our_runs(tasks, ours, tmp_path):
    """The same answers and scores as our own benchmark, and a finished run that is not repeated."""
    arguments = [
        "benchmark=lmms", "benchmark.task=shapes_local", f"benchmark.include_path={tasks}", "pruner=script",
        "budget=48", "batch_size=4", "latency=off", "unpruned=off", f"outputs={tmp_path}",
    ]  # fmt: skip
    process = run(*arguments)
    _, result, records = finished(process)
    assert {questions()[int(one["id"])].id: one["prediction"] for one in records} == ours["script"]
    right = [ours["script"][one.id].lower() in one.references for one in questions()]
    assert [one["score"] for one in records] == right
    assert (
        result["accuracy"]["value"]
        == result["accuracy"]["by_kind"]["lmms-eval exact"]
        == sum(right) / len(right)
    )
    assert len({one["unit"] for one in records}) == SCENES
    assert result["cell"]["benchmark"] == "lmms-shapes_local"
    assert "already finished" in run(*arguments).stderr
    for wrong, message in (
        (
            "benchmark.task=shapes_locl",
            "benchmark.task=shapes_locl: expected a task of lmms-eval; did you mean",
        ),
        ("benchmark.task=shapes_choice", "expected one of the type generate_until; it is of the type"),
        ("benchmark.score_of=f1", "benchmark.score_of=f1: expected one of exact"),
    ):
        failed = run(*arguments, wrong)
        assert failed.returncode == 2
        assert message in failed.stderr
