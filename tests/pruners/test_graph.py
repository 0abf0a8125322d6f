"""The graph score, against a double loop written from the formula."""

from __future__ import annotations

import math

import pytest
import torch

from script_exp.pruners import Graph, GraphRedundancy, VisualTokens


def slow_redundancy(tokens, threshold, gamma):
    """R_i = d_i * exp(gamma * (mu_i - tau)), neighbors of the other parity only."""
    scores = []
    for i in range(len(tokens)):
        similar = []
        for j in range(len(tokens)):
            if i % 2 != j % 2:
                cosine = float(tokens[i] @ tokens[j] / (tokens[i].norm() * tokens[j].norm()))
                if cosine >= threshold:
                    similar.append(cosine)
        mean = sum(similar) / len(similar) if similar else 0.0
        scores.append(len(similar) * math.exp(gamma * (mean - threshold)))
    return scores


@pytest.mark.parametrize("n", [1, 2, 9, 16])
@pytest.mark.parametrize(("threshold", "gamma"), [(0.2, 1.0), (0.0, 0.5), (0.7, 3.0), (-1.0, 0.0)])
def test_equals_the_double_loop(n, threshold, gamma):
    torch.manual_seed(n)
    tokens = torch.randn(2, n, 5) + 0.4
    scores = GraphRedundancy(threshold=threshold, gamma=gamma).redundancy(tokens)
    for crop in range(2):
        wanted = slow_redundancy(tokens[crop].double(), threshold, gamma)
        assert scores[crop].tolist() == pytest.approx(wanted, rel=1e-5, abs=1e-6)


def test_keeps_what_resembles_nothing():
    torch.manual_seed(0)
    tokens = torch.ones(1, 20, 8) + 0.01 * torch.randn(1, 20, 8)
    lonely = [3, 8, 15]
    for place, index in enumerate(lonely):
        tokens[0, index] = -torch.eye(8)[place]
    kept = Graph(budget=3)(VisualTokens(tokens))
    assert kept.indices[0].tolist() == lonely
