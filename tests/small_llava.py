"""A small random LLaVA, loaded as the runner loads one, with pictures and a batch for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from script_exp.models.loading.checkpoint import find_checkpoint
from script_exp.models.loading.load import load_model
from script_exp.models.loading.wanted import Wanted
from script_exp.models.rules import PruningRules

QUESTIONS = ["what color is the star?", "how many", "is the blue star left of the red ring ? yes no"]


def load(folder, dtype=torch.float32, attention="sdpa", clip=None, conversation="chat_template", **rules):
    """A checkpoint with its query encoder, as the runner has it for a pruner that asks the question."""
    checkpoint = find_checkpoint(Wanted(str(folder), clip), needs_query=True)
    model = load_model(
        checkpoint,
        device=torch.device("cpu"),
        dtype=dtype,
        attention=attention,
        with_query=True,
        rules=PruningRules(**{"relevance_sign": 1} | rules),
    )
    model.processing = replace(model.processing, conversation=conversation)
    return model


def images(count, size=96):
    generator = np.random.default_rng(5)
    return [
        Image.fromarray(generator.integers(0, 255, (size, size, 3), dtype=np.uint8)) for _ in range(count)
    ]


def batch(model, rows):
    """Inputs of ``rows`` questions of unequal length, with images, and the questions."""
    prompts = [model.chat_prompt(question) for question in QUESTIONS[:rows]]
    return model.preprocess([[image] for image in images(rows)], prompts), QUESTIONS[:rows]
