"""The fused kernel.

It is compiled for a GPU that is not there, and run on one if there is one, else in Triton's interpreter.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

pytest.importorskip("triton")

from test_dpp import random_kernel

from script_exp.pruners.arithmetic.dpp import EXHAUSTED, greedy_map, greedy_map_torch
from script_exp.pruners.arithmetic.dpp_triton import greedy_map_triton

interpreted = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") != "1", reason="the kernel runs on the GPU instead"
)
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")

# (crops, n, width, k): one item, less than a tile, a power of two, above the rank, several tiles of rows
SHAPES = [
    (1, 1, 3, 1),
    (2, 12, 30, 12),
    (1, 64, 80, 33),
    (3, 40, 6, 40),
    (2, 100, 128, 70),
    (1, 576, 128, 20),
]


@interpreted
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize(("crops", "n", "width", "k"), SHAPES)
def test_interpreted_kernel_equals_torch(crops, n, width, k):
    kernel = random_kernel(crops, n, width, n)
    assert torch.equal(greedy_map_triton(kernel, k, EXHAUSTED), greedy_map_torch(kernel, k))


@interpreted
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
def test_interpreted_kernel_breaks_ties_by_the_lowest_index():
    vectors = torch.eye(4).repeat(2, 1)
    assert greedy_map_triton((vectors @ vectors.T)[None], 8, EXHAUSTED).tolist() == [list(range(8))]
    assert greedy_map_triton(torch.zeros(1, 5, 5), 3, EXHAUSTED).tolist() == [[0, 1, 2]]


def test_only_float32():
    with pytest.raises(TypeError, match=r"expected torch\.float32"):
        greedy_map_triton(torch.eye(3, dtype=torch.float64)[None], 2, EXHAUSTED)


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from script_exp.pruners.arithmetic.dpp_triton import _greedy_map
types = dict(kernel="*fp32", factors="*fp32", picks="*i64", n="i32", k="i32", share="fp32")
sizes = dict(COLUMNS=1024, ROWS=16)
source = ASTSource(_greedy_map, {**types, **dict.fromkeys(sizes, "constexpr")}, sizes)
compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 16})
print("cubin" in compiled.asm)
"""


def test_the_kernel_compiles_for_a_gpu_that_is_not_there(tmp_path):
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "True", done.stderr


@on_gpu
@pytest.mark.parametrize(
    ("crops", "n", "width", "k"), [*SHAPES, (5, 576, 128, 64), (5, 576, 512, 192), (2, 4096, 64, 1024)]
)
def test_on_the_gpu_the_same_set_as_torch(crops, n, width, k):
    kernel = random_kernel(crops, n, width, n).cuda()
    picks, wanted = greedy_map(kernel, k).cpu(), greedy_map_torch(kernel, k).cpu()
    assert torch.equal(picks.sort(dim=1).values, wanted.sort(dim=1).values)
