"""G-Prune, against its steps written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from made_tokens import made_tokens

from script_exp.errors import SettingError
from script_exp.pruners import GPrune, VisualTokens


def slow_scores(tokens, threshold, temperature, steps):
    n, norms = len(tokens), np.linalg.norm(tokens, axis=1)
    graph = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            cosine = tokens[i] @ tokens[j] / (norms[i] * norms[j])
            value = (cosine if cosine >= threshold else 0) / temperature
            graph[i, j] = -5000 if abs(value) < 1e-6 else value
        largest = max(graph[i])
        graph[i] = [math.exp(value - largest) for value in graph[i]]
        graph[i] /= sum(graph[i])
    importance = norms
    for _ in range(steps):
        importance = [sum(importance[i] * graph[i, j] for i in range(n)) for j in range(n)]
    return [importance[j] / sum(graph[j] > 0) for j in range(n)]


@pytest.mark.parametrize(
    ("threshold", "temperature", "steps"), [(0.5, 0.03, 5), (0.2, 0.1, 2), (0.0, 1.0, 0)]
)
@pytest.mark.parametrize("n", [2, 25])
def test_equals_the_steps_written_out(n, threshold, temperature, steps):
    for seed in range(2):
        visual = made_tokens(n, seed=seed)
        pruner = GPrune(budget=1, threshold=threshold, temperature=temperature, steps=steps)
        scores = pruner.score(visual, None)
        for crop in range(2):
            wanted = slow_scores(visual.projected[crop].double().numpy(), threshold, temperature, steps)
            assert scores[crop].tolist() == pytest.approx(wanted, rel=1e-4)
            for k in range(1, n):
                kept = GPrune(budget=k, threshold=threshold, temperature=temperature, steps=steps)(visual)
                best = sorted(range(n), key=lambda i, wanted=wanted: -wanted[i])[:k]
                assert kept.indices[crop].tolist() == sorted(best)


def test_tokens_without_edges_keep_their_norm():
    """Orthogonal tokens have edges to themselves alone, so that importance goes nowhere."""
    tokens = torch.diag(torch.arange(1.0, 7.0))[None]
    assert GPrune(budget=1).score(VisualTokens(tokens), None)[0].tolist() == pytest.approx([1, 2, 3, 4, 5, 6])


@pytest.mark.parametrize(
    ("key", "value"),
    [("threshold", 2), ("temperature", 0), ("temperature", 1000), ("steps", -1), ("steps", 1.5)],
)
def test_settings_out_of_range(key, value):
    with pytest.raises(SettingError, match=f"^{key}={value}: expected"):
        GPrune(budget=4, **{key: value})
