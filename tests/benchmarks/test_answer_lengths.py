"""The maximum answer length of each protocol, as in the scripts and task files of the two harnesses."""

from __future__ import annotations

import pytest

from script_exp.cell.build import build_benchmark
from script_exp.config.benchmark_config import benchmark_config

LENGTHS = {  # LLaVA's model_vqa*.py; lmms-eval's task, or the 1,024 of its wrapper of LLaVA
    "vqav2": (128, 16), "gqa": (128, 16), "vizwiz": (128, 1024), "scienceqa": (1024, 16),
    "textvqa": (128, 1024), "pope": (128, 128), "mme": (128, 16), "mmbench": (1024, 1024),
    "mmbench_cn": (1024, 256), "mmvet": (1024, 1024),
}  # fmt: skip


@pytest.mark.parametrize("name", LENGTHS)
def test_the_length_of_an_answer(name):
    config = benchmark_config(name)
    lengths = [
        build_benchmark(config | {"protocol": protocol}).max_new_tokens for protocol in ("llava", "lmms")
    ]
    assert tuple(lengths) == LENGTHS[name]
