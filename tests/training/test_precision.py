"""The precision of training follows the processor, and the loss does not hang on it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from script_exp.shapes.scenes import FULL
from script_exp.tiny import WEIGHTS
from script_exp.training.packing import answer_loss
from script_exp.training.precision import matrix_dtype
from script_exp.training.start import load_start
from script_exp.training.vision_features import hidden_states, to_pixels
from script_exp.training.vocabulary import WORDS
from script_exp.training.windows import ask_many, render_pool


@pytest.mark.parametrize("kept", [30, 100])  # eager attention, and the fused one
def test_both_precisions_give_the_loss_of_one_step(monkeypatch, kept):
    vision, llava = load_start(WEIGHTS, len(WORDS))
    pool = render_pool(1, 2, 24, (5, 8))
    with torch.no_grad():
        states = hidden_states(vision.clip, to_pixels(pool.images), [FULL] * 2)[:, 1:]
    places = torch.arange(kept).expand(2, -1)
    asked = [ask_many(scene, ["exist", "count"], np.random.default_rng(2)) for scene in pool.scenes]
    losses = {}
    for capability, dtype in (("AVX2", torch.float32), ("AVX512", torch.bfloat16), ("AMX", torch.bfloat16)):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda found=capability: found)
        assert matrix_dtype() == dtype
        loss = answer_loss(llava, states[:, :kept], places, asked)
        loss.backward()
        losses[capability] = loss.item()
    assert losses["AVX512"] == losses["AMX"] != losses["AVX2"]
    assert losses["AVX512"] == pytest.approx(losses["AVX2"], rel=0.1)
