"""A checkpoint that holds more than tensors is refused in one sentence, and nothing in it runs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from processes import run
from safetensors.torch import load_file

from script_exp.errors import UserError
from script_exp.models.loading.checkpoint import find_checkpoint
from script_exp.models.loading.wanted import Wanted
from script_exp.tiny import WEIGHTS


class Command:
    """Creates a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def pickled(folder, extra, name="pytorch_model.bin"):
    shutil.copytree(WEIGHTS, folder)
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save({**state, **extra}, folder / name)
    return folder


def test_it_is_refused_in_one_sentence(tmp_path):
    folder = pickled(tmp_path / "model", {"x": Command(tmp_path / "made")})
    process = run(
        f"model.path={folder}", "benchmark.scenes=1", "pruner=none", f"outputs={tmp_path / 'outputs'}"
    )
    assert process.returncode == 2
    (line,) = (line for line in process.stderr.splitlines() if line.startswith("error: "))
    assert f"model.path={folder}: {folder}/pytorch_model.bin cannot be read" in line
    assert "expected a dictionary of tensors, because nothing else is unpickled" in line
    assert "weights_only" not in process.stderr
    assert "Traceback" not in process.stderr
    assert not Path(tmp_path / "made").exists()


@pytest.mark.parametrize("extra", [{"steps": 3}, {"x": [torch.ones(1)]}], ids=["number", "list"])
def test_anything_but_tensors(extra, tmp_path):
    folder = pickled(tmp_path / "model", extra)
    with pytest.raises(UserError, match="does not hold a checkpoint; expected a dictionary of tensors"):
        find_checkpoint(Wanted(path=str(folder)), needs_query=False)


def test_tensors_alone_are_loaded(tmp_path):
    assert find_checkpoint(Wanted(path=str(pickled(tmp_path / "model", {}))), needs_query=False).source
