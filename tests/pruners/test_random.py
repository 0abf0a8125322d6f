"""Random keeps each token equally often, and depends on the seed and the sample only."""

from __future__ import annotations

import torch

from script_exp.pruners import Random, VisualTokens


def test_random_depends_on_seed_and_sample_only():
    tokens = torch.randn(1, 100, 4)

    def draw(seed, key):
        return Random(budget=10, seed=seed)(VisualTokens(tokens, key=key)).indices[0].tolist()

    assert draw(0, "a") == draw(0, "a")
    assert len({tuple(draw(seed, key)) for seed in (0, 1) for key in ("a", "b")}) == 4


def test_random_is_uniform():
    """Each of 20 tokens is kept 5 times in 20 draws on average; 4000 draws, five standard errors."""
    tokens = torch.randn(1, 20, 4)
    counts = torch.zeros(20)
    for i in range(4000):
        counts[Random(budget=5)(VisualTokens(tokens, key=str(i))).indices[0]] += 1
    assert (counts / 4000 - 0.25).abs().max() < 5 * (0.25 * 0.75 / 4000) ** 0.5
