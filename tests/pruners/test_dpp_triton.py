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

from script_exp.pruners.arithmetic.dpp import exhaustion, greedy_map, greedy_map_torch
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
    assert torch.equal(greedy_map_triton(kernel, k, *exhaustion(kernel)), greedy_map_torch(kernel, k))


@interpreted
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
def test_interpreted_kernel_breaks_ties_by_the_lowest_index():
    vectors = torch.eye(4).repeat(2, 1)
    for kernel, picks in (((vectors @ vectors.T)[None], list(range(8))), (torch.zeros(1, 5, 5), [0, 1, 2])):
        assert greedy_map_triton(kernel, len(picks), *exhaustion(kernel)).tolist() == [picks]


@interpreted
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
def test_interpreted_kernel_in_float64_reaches_the_rank_and_goes_on():
    """Residuals fall to 1e-9 of the diagonal: a step in float32 would stop long before."""
    tokens = torch.randn(1, 96, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tokens[:, 48:] = tokens[:, :48] + 1e-4 * tokens[:, 48:]
    tokens[:, 12:48] = tokens[:, :12].repeat(1, 3, 1) + 1e-5 * tokens[:, 12:48]
    kernel = tokens @ tokens.mT
    picks = greedy_map_triton(kernel, 40, *exhaustion(kernel))
    assert torch.equal(picks, greedy_map_torch(kernel, 40))
    assert (kernel[0].diagonal()[picks[0, 24:]].diff() <= 0).all()


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from script_exp.pruners.arithmetic.dpp_triton import _greedy_map
types = dict(picks="*i64", n="i32", k="i32")
types |= dict(kernel="*{kernel}", factors="*fp64", floor="*fp64", fallback="*fp64")
sizes = dict(COLUMNS=1024, ROWS=16)
source = ASTSource(_greedy_map, {**types, **dict.fromkeys(sizes, "constexpr")}, sizes)
compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 16})
print("cubin" in compiled.asm)
"""


@pytest.mark.parametrize("dtype", ["fp32", "fp64"])
def test_the_kernel_compiles_for_a_gpu_that_is_not_there(tmp_path, dtype):
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    done = subprocess.run(
        [sys.executable, "-c", COMPILE.replace("{kernel}", dtype)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
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
