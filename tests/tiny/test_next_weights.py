"""The shipped checkpoint of the model with crops: small, complete, trained, and in need of its crops."""

import torch
from transformers import LlavaNextForConditionalGeneration

from script_exp.shapes.next_scenes import NEXT_WORLD
from script_exp.tiny import NEXT_WEIGHTS
from script_exp.training.monitor import MONITOR_SEED, accuracy
from script_exp.training.next_model import see_base, see_views


def test_the_safetensors_fit_in_twelve_megabytes():
    assert 0 < sum(path.stat().st_size for path in NEXT_WEIGHTS.rglob("*.safetensors")) <= 12_000_000


def test_it_answers_and_reads_digits_in_crops_only():
    torch.set_num_threads(1)
    llava, report = LlavaNextForConditionalGeneration.from_pretrained(NEXT_WEIGHTS, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    every, base = (
        accuracy(llava.eval(), 5, MONITOR_SEED, world=NEXT_WORLD, see=see) for see in (see_views, see_base)
    )
    assert every["all"] > 0.65
    assert every["all"] > base["all"] + 0.05
    assert every["digit"] >= base["digit"] + 0.4
