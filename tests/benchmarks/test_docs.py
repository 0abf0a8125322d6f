"""docs/benchmarks.md: every benchmark has a line, and the commands for the released scripts are valid."""

from __future__ import annotations

import re

import pytest
from hydra import compose, initialize_config_dir

from script_exp.config.command_line import CONF
from script_exp.config.settings import RunSettings

PAGE = (CONF.parent / "docs" / "benchmarks.md").read_text()
COMMON = re.search(r'COMMON="(.*)"', PAGE).group(1).split()
SCRIPTS = ["gqa", "sqa", "textvqa", "pope", "mme", "vizwiz", "vqav2", "mmbench", "mmbench_cn", "mmvet"]
LINES = re.findall(r"^\| `(\w+)\.sh N` \| (.*?) \|", PAGE, re.MULTILINE)
COMMANDS = [command.split() for _, line in LINES for command in re.findall(r"`(benchmark=.*?)`", line)]
MODELS = [
    "model=llava_1_5_13b model.path=/models/llava-v1.5-13b",
    "model=llava_next_7b model.path=/models/llava-v1.6-vicuna-7b",
]


def settings(overrides):
    given = [word.replace("=N", "=64") for word in [*COMMON, *overrides]]
    return RunSettings.from_config(compose("config", given))


@pytest.fixture(autouse=True, scope="module")
def conf():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def test_every_benchmark_has_a_line():
    built_in = {"shapes", "shapes_2", "shapes_large", "shapes_next"}  # these are in docs/tiny_model.md
    names = {file.stem for file in (CONF / "benchmark").glob("*.yaml")} - built_in
    assert names <= {*re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)}


def test_every_released_script_has_a_command():
    assert [script for script, _ in LINES] == SCRIPTS
    assert len(COMMANDS) == len(SCRIPTS) + 2  # what textvqa.sh really does, and the other split of VizWiz


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_command_is_one(command):
    made = settings(command)
    assert made.model.name == "llava_1_5_7b"
    assert made.benchmark["name"] == command[0].removeprefix("benchmark=")
    assert made.benchmark["data"].startswith("playground/data/eval/")
    assert made.budget == (64 if "budget=N" in command else None)


@pytest.mark.parametrize("model", MODELS)
def test_other_models_and_shards(model):
    assert model in PAGE
    made = settings(
        [*COMMANDS[0], *model.split(), "shards=8", "shard=7", "model.newline=drop", "dtype=float16"]
    )
    assert made.model.path == model.split("model.path=")[1]
    assert (made.shards, made.shard) == (8, 7)
