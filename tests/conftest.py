"""Shared fixtures: a small random LLaVA on disk and in memory."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["WANDB_MODE"] = "disabled"  # tests of tracking set tracker.mode
os.environ.setdefault("OMP_NUM_THREADS", "1")  # pytest-xdist already uses every core

import fast_yaml
import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when Triton is imported: kernels run on the CPU

from checkpoints import save_llava
from small_llava import load

fast_yaml.install()


def pytest_collection_modifyitems(items):
    """Jobs of SLURM mostly wait: they are begun first, so that the last test is not one of them."""
    items.sort(key=lambda item: item.path.parent.name != "slurm")


@pytest.fixture(scope="session")
def llava_folder(tmp_path_factory):
    return save_llava(tmp_path_factory.mktemp("llava"))


@pytest.fixture(scope="session")
def llava(llava_folder):
    """The random LLaVA in float32."""
    return load(llava_folder)
