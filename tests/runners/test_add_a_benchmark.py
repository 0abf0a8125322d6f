"""The steps of CONTRIBUTING.md, done: the benchmark printed there, its config, a run through the runner."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from contributing import printed
from PIL import Image
from processes import ROOT, last_line, run

from script_exp.shapes.questions import held_out

IMPORTS = """
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from script_exp.benchmarks.base import Sample
from script_exp.benchmarks.reading.data import image_file, read_jsonl, value_of
from script_exp.benchmarks.reading.files import SHORT_ANSWER, FolderBenchmark, Source
"""
CONFIG = """
_target_: signs.Signs
name: signs
data: ${data}/signs
check_count: true
"""


@pytest.fixture
def signs(tmp_path):
    """The benchmark of CONTRIBUTING.md, its config, and data in its format; overrides that find them."""
    (tmp_path / "signs.py").write_text(IMPORTS + "\n" + printed("Signs"))
    config = tmp_path / "conf" / "benchmark" / "signs.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(CONFIG)
    data = tmp_path / "data" / "signs"
    data.mkdir(parents=True)
    lines = []
    for number, (scene, _) in enumerate(held_out(3, 2)):
        Image.fromarray(scene.image).save(data / f"{number}.png")
        question = {"id": f"q{number}", "image": f"{number}.png", "question": "what color is the ground?"}
        lines.append(json.dumps(question | {"answer": "no color"}) + "\n")
    (data / "questions.jsonl").write_text("".join(lines))
    return [
        "benchmark=signs", f"data={tmp_path / 'data'}", "pruner=random", "budget=64", "latency=off",
        "unpruned=off", f"outputs={tmp_path / 'outputs'}", f"hydra.searchpath=[file://{tmp_path / 'conf'}]",
    ]  # fmt: skip


def test_a_new_benchmark_runs_after_adding_one_file_and_one_config(signs, tmp_path):
    line = last_line(run(*signs, PYTHONPATH=str(tmp_path)))
    result = json.loads((Path(line["run_dir"]) / "result.json").read_text())
    assert (result["accuracy"]["value"], result["accuracy"]["n"]) == (0.0, 2)
    assert "samples" in json.loads((Path(line["run_dir"]) / "identity.json").read_text())
    lines = (Path(line["run_dir"]) / "samples.jsonl").read_text().splitlines()
    assert [json.loads(text)["id"] for text in lines] == ["q0", "q1"]


def test_a_file_that_is_cut_off_is_named(signs, tmp_path):
    file = tmp_path / "data" / "signs" / "questions.jsonl"
    file.write_text(file.read_text()[:-20])
    process = run(*signs, PYTHONPATH=str(tmp_path))
    assert process.returncode == 2
    assert f"{file}" in process.stderr
    assert "Traceback" not in process.stderr


def test_every_place_that_is_named_exists():
    """The table of places names every room of the package."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    named = {word.strip("`/") for word in page.split() if word.startswith("`script_exp/")}
    rooms = {place.parent.relative_to(ROOT).as_posix() for place in ROOT.glob("script_exp/*/__init__.py")}
    missing = {room for room in rooms if not any(f"{one}/".startswith(f"{room}/") for one in named)}
    assert missing == set()
