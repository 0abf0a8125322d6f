"""Our loop as a model of lmms-eval: the answers are those of our own runs, and errors end the process."""

from __future__ import annotations

import lmms_installed  # noqa: F401

# isort: split

import json
import os
import subprocess
import sys

import pytest
from lmms_tasks import SCENES, questions, write_tasks
from official import finished
from processes import run, search_path

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    return write_tasks(tmp_path_factory.mktemp("tasks"))


def lmms_eval(tasks, arguments, *options, tasks_asked="shapes_local", launcher=()):
    """A run of the command line in a process of its own."""
    words = [
        *(launcher or [sys.executable]), "-m", "lmms_eval", "--model", "script_exp",
        "--model_args", arguments, "--tasks", tasks_asked, "--include_path", tasks,
        "--log_samples", "--output_path", tasks / "out", "--device", "cpu", *options,
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": search_path(), "HF_DATASETS_OFFLINE": "1"}
    environment |= {"HF_HOME": str(tasks / "home"), "ACCELERATE_USE_CPU": "true"}
    return subprocess.run(
        list(map(str, words)), capture_output=True, text=True, check=False, cwd=tasks, env=environment
    )


def answers(tasks, task="shapes_local"):
    """Answers by number of the document, of the last run."""
    files = sorted((tasks / "out").rglob(f"*samples_{task}.jsonl"), key=lambda file: file.stat().st_mtime)
    lines = map(json.loads, files[-1].read_text().splitlines())
    return {line["doc_id"]: line["filtered_resps"] for line in lines}


def ours(tmp_path, *arguments):
    process = run(
        f"benchmark.scenes={SCENES}", "latency=off", "unpruned=off", f"outputs={tmp_path}", *arguments
    )
    _, result, records = finished(process)
    return result, {record["id"]: record["prediction"] for record in records}


def test_the_answers_are_ours(tasks, tmp_path):
    process = lmms_eval(tasks, "pretrained=embedded,pruner=script,budget=48", "--batch_size", "4")
    assert process.returncode == 0, process.stdout[-3000:] + process.stderr[-3000:]
    print(process.stdout[-2000:], process.stderr[-500:])
    _, expected = ours(tmp_path, "pruner=script", "budget=48", "batch_size=4")
    assert {sample.id: answers(tasks)[place] for place, sample in enumerate(questions())} == expected
