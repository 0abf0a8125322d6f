"""Greedy MAP, against an independent greedy search that computes every determinant."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from script_exp.cell.prepared import RunCell
from script_exp.config.command_line import CONF
from script_exp.config.settings import RunSettings
from script_exp.inspection.seen import see
from script_exp.pruners import Query, QueryConditioned, QueryDPP, Script, VisualTokens
from script_exp.pruners.arithmetic.dpp import dpp_kernel, greedy_map, greedy_map_numpy, greedy_map_torch
from script_exp.pruners.arithmetic.similarity import cosines, min_max
from script_exp.pruners.before_llm.query import precise

IMPLEMENTATIONS = pytest.mark.parametrize("greedy_map", [greedy_map_torch, greedy_map_numpy])


def slow_greedy(kernel, k):
    """Picks by the largest log det of the enlarged submatrix, in float64, one determinant per candidate."""
    kernel = kernel.double().numpy()
    picks = []
    for _ in range(k):
        gains = np.full(len(kernel), -np.inf)
        for item in range(len(kernel)):
            if item not in picks:
                chosen = [*picks, item]
                sign, value = np.linalg.slogdet(kernel[np.ix_(chosen, chosen)])
                gains[item] = value if sign > 0 else -np.inf
        picks.append(int(gains.argmax()))
    return picks


def exact_greedy(vectors, k):
    """Picks among whole-number vectors by exact determinants, then by the diagonal."""
    kernel = [[sum(Fraction(a) * b for a, b in zip(x, y, strict=True)) for y in vectors] for x in vectors]
    picks = []
    while len(picks) < k:
        rest = [item for item in range(len(vectors)) if item not in picks]
        gains = [
            determinant([[kernel[a][b] for b in [*picks, item]] for a in [*picks, item]]) for item in rest
        ]
        if not max(gains):
            return picks + sorted(rest, key=lambda item: (-kernel[item][item], item))[: k - len(picks)]
        picks.append(rest[gains.index(max(gains))])
    return picks


def determinant(matrix):
    """Gaussian elimination without rounding; the leading minors of these matrices are positive."""
    matrix, product = [list(row) for row in matrix], Fraction(1)
    for step, row in enumerate(matrix):
        if not row[step]:
            return Fraction(0)
        product *= row[step]
        for other in matrix[step + 1 :]:
            share = other[step] / row[step]
            other[step:] = [a - share * b for a, b in zip(other[step:], row[step:], strict=True)]
    return product


def projected_greedy(tokens, relevance, k):
    """Picks by the distance of r_i u_i from the span of the picks, in float64 and without any kernel.

    The span has an orthonormal basis, made orthogonal twice. There is no more to pick beyond the width.
    """
    rest = (torch.nn.functional.normalize(tokens.double(), dim=-1) * relevance.double()[:, None]).numpy()
    basis, picks = np.zeros((0, rest.shape[1])), []
    for _ in range(k):
        distance = (rest**2).sum(axis=1)
        distance[picks] = -1
        picks.append(int(distance.argmax()))
        direction = rest[picks[-1]] / np.linalg.norm(rest[picks[-1]])
        direction -= basis.T @ (basis @ direction)
        basis = np.vstack([basis, direction / np.linalg.norm(direction)])
        for _ in range(2):
            rest = rest - (rest @ basis[-1])[:, None] * basis[-1]
    return picks


def random_kernel(crops, n, width, seed):
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.nn.functional.normalize(torch.randn(crops, n, width, generator=generator), dim=-1)
    relevance = torch.rand(crops, n, generator=generator)
    return relevance[:, :, None] * (vectors @ vectors.mT) * relevance[:, None, :]


@IMPLEMENTATIONS
@pytest.mark.parametrize(("n", "width", "k"), [(12, 30, 12), (40, 64, 20), (64, 80, 31), (90, 16, 12)])
def test_equals_the_slow_greedy(greedy_map, n, width, k):
    for seed in range(4):
        kernel = random_kernel(3, n, width, seed)
        picks = greedy_map(kernel, k)
        assert [row.tolist() for row in picks] == [slow_greedy(one, k) for one in kernel]


@IMPLEMENTATIONS
def test_prefixes_are_the_smaller_budgets(greedy_map):
    kernel = random_kernel(2, 50, 60, 1)
    assert torch.equal(greedy_map(kernel, 40)[:, :7], greedy_map(kernel, 7))


@IMPLEMENTATIONS
def test_above_the_rank_the_rest_follows_the_diagonal(greedy_map):
    kernel = random_kernel(1, 40, 6, 3)
    picks = greedy_map(kernel, 40)[0]
    assert sorted(picks.tolist()) == list(range(40))
    rest = kernel[0].diagonal()[picks[6:]]
    assert (rest.diff() <= 0).all()


@IMPLEMENTATIONS
@pytest.mark.parametrize("seed", range(4))
def test_above_the_rank_of_clustered_tokens(greedy_map, seed):
    """576 tokens in clusters, 128 wide: float32 noise must not count as a residual."""
    generator = torch.Generator().manual_seed(seed)
    centers = torch.randn(20, 128, generator=generator)
    tokens = centers[torch.arange(576) % 20] + 0.3 * torch.randn(576, 128, generator=generator)
    unit = torch.nn.functional.normalize(tokens, dim=-1)
    relevance = torch.rand(576, generator=generator)
    kernel = (relevance[:, None] * (unit @ unit.T) * relevance[None])[None]
    picks = greedy_map(kernel, 200)[0]
    rest = kernel[0].diagonal()[picks[128:]]
    assert (rest.diff() <= 0).all()


@IMPLEMENTATIONS
def test_duplicates_are_picked_last(greedy_map):
    vectors = torch.eye(4).repeat_interleave(2, dim=0)
    picks = greedy_map((vectors @ vectors.T)[None], 8)[0].tolist()
    assert picks == [0, 2, 4, 6, 1, 3, 5, 7]


@IMPLEMENTATIONS
def test_a_zero_kernel_gives_the_lowest_indices(greedy_map):
    assert greedy_map(torch.zeros(1, 5, 5), 3).tolist() == [[0, 1, 2]]


@IMPLEMENTATIONS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(6))
def test_equals_exact_determinants(greedy_map, dtype, seed):
    """Whole numbers fit into float32, so only the steps round; each vector is there twice, once scaled."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randint(-9, 10, (8, 5), generator=generator)
    vectors = torch.cat([vectors, 3 * vectors])
    kernel = (vectors @ vectors.T)[None].to(dtype)
    assert greedy_map(kernel, 16)[0].tolist() == exact_greedy(vectors.tolist(), 16)


@IMPLEMENTATIONS
def test_a_small_residual_counts_until_it_is_noise(greedy_map):
    """Relevance spans ten orders of magnitude; the two least relevant tokens are the only new directions."""
    unit = torch.eye(12, dtype=torch.float64).repeat(2, 1)[:22]
    relevance = torch.cat(
        [torch.linspace(1, 0.5, 10), torch.tensor([1e-10, 1e-11]), torch.linspace(0.4, 0.1, 10)]
    )
    kernel = dpp_kernel((unit @ unit.T)[None], relevance.double()[None])
    for one in (kernel, kernel.float()):
        assert greedy_map(one, 22)[0].tolist() == [*range(12), *range(12, 22)]


@IMPLEMENTATIONS
@pytest.mark.parametrize(("clusters", "spread"), [(20, 0.3), (5, 1.0), (60, 0.01), (60, 1e-3)])
def test_stops_at_the_rank_and_not_before(greedy_map, clusters, spread):
    """Tokens of 64 dimensions in clusters: 64 picks in exact order, then the diagonal."""
    generator = torch.Generator().manual_seed(clusters)
    centers = torch.randn(clusters, 64, generator=generator)
    tokens = centers[torch.arange(300) % clusters] + spread * torch.randn(300, 64, generator=generator)
    relevance = torch.rand(300, generator=generator)
    kernel = dpp_kernel(cosines(tokens.double()[None]), relevance.double()[None])
    picks = greedy_map(kernel, 150)[0]
    assert picks[:64].tolist() == projected_greedy(tokens, relevance, 64)
    assert (kernel[0].diagonal()[picks[64:]].diff() <= 0).all()


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """Questions about scenes of the embedded benchmark as pruners see them: tokens of rank 128."""
    with initialize_config_dir(str(CONF), version_base=None):
        config = compose(
            "config", ["pruner=query", "benchmark.scenes=3", f"outputs={tmp_path_factory.mktemp('runs')}"]
        )
    cell = RunCell.prepare(RunSettings.from_config(config))
    return [(one.visual, one.query) for one in see(cell, cell.samples()[::6])]


@pytest.mark.parametrize("k", [64, 96, 128])
def test_keeps_what_exact_picks_keep_of_embedded_scenes(embedded, k):
    assert len(embedded) >= 3
    for visual, query in embedded:
        similarity = functional.cosine_similarity(visual.joint.double(), query.embeddings.double(), dim=-1)
        relevance = min_max(query.sign * similarity)[0]
        exact = projected_greedy(visual.projected[0], relevance, k)
        assert QueryDPP().order(visual, query, k)[0].tolist() == exact
        assert QueryConditioned(budget=k)(visual, query).indices[0].tolist() == sorted(exact)
        assert Script(budget=k, graph_keep=1)(visual, query).indices[0].tolist() == sorted(exact)


def test_beyond_the_rank_of_embedded_scenes_the_rest_follows_relevance(embedded):
    for visual, query in embedded:
        picks = QueryDPP().order(visual, query, 192)[0]
        relevance = QueryDPP().relevance(visual, query)[0]
        assert (relevance[picks[128:]].diff() <= 1e-6).all()


def test_more_dimensions_than_tokens_keep_the_kernel_in_float32():
    generator = torch.Generator().manual_seed(0)
    for n, dtype in ((40, torch.float32), (41, torch.float64)):
        visual = VisualTokens(
            torch.randn(1, n, 40, generator=generator), torch.randn(1, n, 8, generator=generator)
        )
        query = Query(torch.randn(1, 8, generator=generator))
        given, asked = precise(visual, query)
        assert {given.projected.dtype, given.joint.dtype, asked.embeddings.dtype} == {dtype}


def test_other_dtypes_are_refused():
    with pytest.raises(TypeError, match=r"the kernel is torch.float16; expected torch\.float32 or"):
        greedy_map(torch.eye(3, dtype=torch.float16)[None], 2)


@pytest.mark.parametrize(("crops", "n", "width", "k"), [(5, 576, 128, 64), (2, 576, 40, 192), (1, 7, 9, 7)])
def test_implementations_agree(crops, n, width, k):
    kernel = random_kernel(crops, n, width, n)
    assert torch.equal(greedy_map_numpy(kernel, k), greedy_map_torch(kernel, k))
    assert torch.equal(greedy_map(kernel.mT, k), greedy_map_numpy(kernel, k))  # strides do not matter


def test_the_operations_are_counted_whichever_implementation_runs():
    kernel = random_kernel(3, 50, 60, 0)
    counts = []
    for implementation in (greedy_map, greedy_map_torch):
        with FlopCounterMode(display=False) as counter:
            implementation(kernel, 20)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0
    assert torch.ops.script_exp.greedy_map(kernel.to("meta"), 20).shape == (3, 20)
