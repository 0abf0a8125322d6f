"""The trainer: a few real steps from its command line, an interruption, and a folder that loads."""

import shutil

import pytest
import torch
from transformers import AutoProcessor, LlavaForConditionalGeneration

from script_exp.commands import train_tiny

BASE = ["--smoke", "--seed", "3", "--threads", "1"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training that nothing cut off."""
    folder = tmp_path_factory.mktemp("whole")
    train_tiny.main([*BASE, "--out", str(folder)])
    return folder


def test_training_resumes_where_it_was_cut_and_exports(whole, tmp_path):
    train_tiny.main([*BASE, "--out", str(tmp_path), "--stage", "vision"])
    assert not (tmp_path / "weights").exists()
    train_tiny.main([*BASE, "--out", str(tmp_path)])
    models = [LlavaForConditionalGeneration.from_pretrained(place / "weights") for place in (whole, tmp_path)]
    for first, second in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(first, second)
    assert AutoProcessor.from_pretrained(tmp_path / "weights").tokenizer.padding_side == "left"


def test_the_last_stage_goes_on_from_the_one_before(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "copy")

    def trained(name):
        return torch.load(folder / "checkpoints" / f"{name}.pt", weights_only=True)

    before = trained("polish")
    assert before["step"] == trained("joint")["step"] == 6
    assert not torch.equal(*(trained(name)["module"]["llava.lm_head.weight"] for name in ("joint", "polish")))
    (folder / "checkpoints" / "polish.pt").unlink()
    train_tiny.main([*BASE, "--out", str(folder)])
    again = trained("polish")
    assert all(torch.equal(value, again["module"][name]) for name, value in before["module"].items())


def test_more_steps_continue_from_the_checkpoint(tmp_path):
    base = ["--smoke", "--stage", "vision", "--threads", "1", "--out", str(tmp_path)]
    train_tiny.main([*base, "--vision-steps", "3"])
    checkpoint = tmp_path / "checkpoints" / "vision.pt"
    assert torch.load(checkpoint, weights_only=True)["step"] == 3
    train_tiny.main([*base, "--vision-steps", "5"])
    assert torch.load(checkpoint, weights_only=True)["step"] == 5
