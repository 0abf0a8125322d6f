"""docs/coming_from.md: every command is one, given weights and data; every setting and link exists."""

from __future__ import annotations

import re
import shlex
from importlib import import_module

import pytest
from processes import ROOT

from script_exp.config.settings import RunSettings
from script_exp.sweeps.experiment import composed_cells

PAGE = (ROOT / "docs" / "coming_from.md").read_text()
COMMANDS = [
    shlex.split(line)
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command(command):
    program, script, *words = command
    assert program == "python"
    assert (ROOT / script).is_file()
    if script == "runners/run.py":
        is_sweep = "-m" in words
        cells = list(composed_cells([word for word in words if word != "-m"]))
        settings = [RunSettings.from_config(config) for _, config in cells]
        assert (len(settings) > 1) == is_sweep
    else:
        parser = import_module(f"script_exp.commands.{script.split('/')[1].removesuffix('.py')}").parser()
        parser.parse_args(words)


def test_every_setting_in_a_table():
    """Words such as ``budget=`` and ``shards=N`` in the column of this project."""
    cells = [line.rsplit(" | ", 1)[1] for line in PAGE.splitlines() if line.startswith("| ")]
    words = [word for cell in cells for code in re.findall(r"`([^`]+)`", cell) for word in code.split()]
    given = [
        word for word in words if re.fullmatch(r"[a-z][\w./]*=[\w./]+", word) and "key=value" not in word
    ]
    values = {"N": "2", "PATH": "/models/a"}
    settings = {}
    for key, _, value in (word.partition("=") for word in given):
        if key in ("model", "benchmark", "pruner"):
            assert (ROOT / "conf" / key / f"{value}.yaml").is_file(), value
        else:
            settings[key] = values.get(value, value)
    assert len(settings) > 8
    task = settings.pop("benchmark.task")
    assert len(list(composed_cells(["benchmark=lmms", f"benchmark.task={task}"]))) == 1
    words = [f"{key}={value}" for key, value in settings.items()]
    assert len(list(composed_cells(["benchmark=pope", "pruner=visionzip", *words]))) == 1


def test_every_link():
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        file, _, heading = target.partition("#")
        text = (ROOT / "docs" / file).read_text()
        headings = [
            line.lstrip("# ").lower().replace(" ", "-") for line in text.splitlines() if line[:1] == "#"
        ]
        assert not heading or heading in headings, target
