"""The shipped checkpoint for the second world: small, complete, trained, and it reads words."""

import torch
from transformers import LlavaForConditionalGeneration

from script_exp.shapes.second_questions import SECOND_WORLD
from script_exp.tiny import SECOND_WEIGHTS
from script_exp.training.monitor import MONITOR_SEED, accuracy


def test_the_safetensors_fit_in_eight_megabytes():
    assert 0 < sum(path.stat().st_size for path in SECOND_WEIGHTS.rglob("*.safetensors")) <= 8_000_000


def test_it_answers_and_needs_the_picture():
    torch.set_num_threads(1)
    llava, report = LlavaForConditionalGeneration.from_pretrained(SECOND_WEIGHTS, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    seen = accuracy(llava.eval(), 6, MONITOR_SEED, world=SECOND_WORLD)
    blind = accuracy(llava, 6, MONITOR_SEED, blind=True, world=SECOND_WORLD)
    assert seen["all"] > blind["all"] + 0.3
    assert seen["word"] > 0.8
