"""Shared fixtures: a small random LLaVA on disk and in memory, and a batch for it."""

from __future__ import annotations

import os
from dataclasses import replace

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # pytest-xdist already uses every core

import numpy as np
import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when Triton is imported: kernels run on the CPU

from checkpoints import save_llava
from PIL import Image

from script_exp.models.loading.checkpoint import find_checkpoint
from script_exp.models.loading.load import load_model
from script_exp.models.loading.wanted import Wanted
from script_exp.models.rules import PruningRules

QUESTIONS = ["what color is the star?", "how many", "is the blue star left of the red ring ? yes no"]


@pytest.fixture(scope="session")
def llava_folder(tmp_path_factory):
    return save_llava(tmp_path_factory.mktemp("llava"))


@pytest.fixture(scope="session", params=["float32", "bfloat16"])
def dtype(request):
    return getattr(torch, request.param)


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


@pytest.fixture(scope="session")
def llava(llava_folder):
    """The random LLaVA in float32."""
    return load(llava_folder)


@pytest.fixture(scope="session")
def llava_any_dtype(llava_folder, dtype):
    return load(llava_folder, dtype)


def images(count, size=96):
    generator = np.random.default_rng(5)
    return [
        Image.fromarray(generator.integers(0, 255, (size, size, 3), dtype=np.uint8)) for _ in range(count)
    ]


def batch(model, rows):
    """Inputs of ``rows`` questions of unequal length, with images, and the questions."""
    prompts = [model.chat_prompt(question) for question in QUESTIONS[:rows]]
    return model.preprocess([[image] for image in images(rows)], prompts), QUESTIONS[:rows]
