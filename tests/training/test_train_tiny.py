"""The trainer: a few real steps through its command line, an interruption, and a folder that loads."""

import importlib.util
from pathlib import Path

import pytest
import torch
from transformers import AutoProcessor, LlavaForConditionalGeneration

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def command():
    specification = importlib.util.spec_from_file_location("train_tiny", ROOT / "runners" / "train_tiny.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.main


def test_training_resumes_where_it_was_cut_and_exports(command, tmp_path):
    base = ["--smoke", "--seed", "3", "--threads", "1"]
    command([*base, "--out", str(tmp_path / "whole")])
    command([*base, "--out", str(tmp_path / "cut"), "--stage", "vision"])
    assert not (tmp_path / "cut" / "weights").exists()
    command([*base, "--out", str(tmp_path / "cut")])
    models = [
        LlavaForConditionalGeneration.from_pretrained(tmp_path / name / "weights")
        for name in ("whole", "cut")
    ]
    for first, second in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(first, second)
    assert AutoProcessor.from_pretrained(tmp_path / "cut" / "weights").tokenizer.padding_side == "left"


def test_the_last_stage_goes_on_from_the_one_before(command, tmp_path):
    base = ["--smoke", "--seed", "3", "--threads", "1", "--out", str(tmp_path)]

    def trained(name):
        return torch.load(tmp_path / "checkpoints" / f"{name}.pt", weights_only=True)

    command(base)
    whole = trained("polish")
    assert whole["step"] == trained("joint")["step"] == 6
    assert not torch.equal(*(trained(name)["module"]["llava.lm_head.weight"] for name in ("joint", "polish")))
    (tmp_path / "checkpoints" / "polish.pt").unlink()
    command(base)
    again = trained("polish")
    assert all(torch.equal(value, again["module"][name]) for name, value in whole["module"].items())


def test_more_steps_continue_from_the_checkpoint(command, tmp_path):
    base = ["--smoke", "--stage", "vision", "--threads", "1", "--out", str(tmp_path)]
    command([*base, "--vision-steps", "3"])
    checkpoint = tmp_path / "checkpoints" / "vision.pt"
    assert torch.load(checkpoint, weights_only=True)["step"] == 3
    command([*base, "--vision-steps", "5"])
    assert torch.load(checkpoint, weights_only=True)["step"] == 5
