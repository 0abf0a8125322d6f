"""Statistics of what methods select, over many samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from script_exp.inspection.seen import Seen
from script_exp.pruners import Pruner
from script_exp.pruners.arithmetic.dpp import dpp_kernel, greedy_map
from script_exp.pruners.arithmetic.released_script import released_loop, released_redundancy
from script_exp.pruners.arithmetic.similarity import cosines
from script_exp.pruners.before_llm.script_released import ScriptReleased


def selections(seen: Sequence[Seen], pruners: Mapping[str, Pruner]) -> pd.DataFrame:
    """Describe what each method keeps: one row per method, means over samples.

    Args:
        seen: samples with their questions.
        pruners: the methods, by name.

    Returns:
        ``relevance`` and ``redundancy``: the mean rank of the kept tokens among all tokens of their crop by
        Script's relevance and redundancy, from 0 (least) to 100; a random draw has 50. ``as NAME``: percent
        of the kept tokens that NAME keeps, too.
    """
    kept = {name: [_kept(pruner, one) for one in seen] for name, pruner in pruners.items()}
    relevance = [_ranks(one.relevance()) for one in seen]
    redundancy = [_ranks(one.redundancy()) for one in seen]
    rows = {
        name: {
            "relevance": _mean_rank(relevance, own),
            "redundancy": _mean_rank(redundancy, own),
            **{f"as {other}": _common(own, theirs) for other, theirs in kept.items()},
        }
        for name, own in kept.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def relevance_by_pick(seen: Sequence[Seen], k: int) -> pd.DataFrame:
    """Return the relevance of the i-th pick of the released loop and of greedy MAP, mean over crops.

    Both use the kernel of the last released version, so that only the selection differs.

    Returns:
        frame indexed by pick from 1 to k; columns ``released loop`` and ``greedy MAP``.
    """
    released = ScriptReleased(budget=k, version="head")
    found: dict[str, list[np.ndarray]] = {"released loop": [], "greedy MAP": []}
    for one in seen:
        relevance, kernel = _released_kernel(released, one)
        for name, select in (("released loop", released_loop), ("greedy MAP", greedy_map)):
            found[name].append(np.asarray(relevance.gather(1, select(kernel, k)).cpu()))
    means = {name: np.concatenate(values).mean(axis=0) for name, values in found.items()}
    return pd.DataFrame(means, index=pd.RangeIndex(1, k + 1, name="pick"))


def effect_of_released_graph(seen: Sequence[Seen], k: int) -> pd.DataFrame:
    """Measure whether the graph of the last released version changes what it keeps.

    Returns:
        one row per sample; ``graph`` and ``loop`` are the percent of the kept tokens that are in the graph's
        set and in the loop's.
    """
    released = ScriptReleased(budget=k, version="head")
    rows = {}
    for one in seen:
        _, kernel = _released_kernel(released, one)
        graph = released_redundancy(cosines(one.visual.projected.float())).topk(k).indices
        kept = _kept(released, one)
        rows[one.sample.id] = {
            "graph": _common([kept], [_flat(graph, one.tokens)]),
            "loop": _common([kept], [_flat(released_loop(kernel, k), one.tokens)]),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _released_kernel(released: ScriptReleased, seen: Seen) -> tuple[torch.Tensor, torch.Tensor]:
    """Return relevance (crops, n) and kernel (crops, n, n) of a released version."""
    joint, query = seen.visual.joint, seen.query
    if joint is None or query is None:
        raise ValueError("the samples were seen without their questions")
    relevance = released.relevance(joint.float(), query)
    return relevance, dpp_kernel(cosines(seen.visual.projected.float()), relevance)


def _kept(pruner: Pruner, seen: Seen) -> set[int]:
    return set(pruner(seen.visual, seen.query).places.tolist())


def _flat(indices: torch.Tensor, n: int) -> set[int]:
    """Convert indices (crops, k) to positions among the tokens of all crops."""
    return {crop * n + index for crop, own in enumerate(indices.tolist()) for index in own}


def _ranks(values: np.ndarray | None) -> np.ndarray:
    """Return the rank of every token within its crop, from 0 to 100; ties share their mean rank."""
    if values is None:
        raise ValueError("the samples were seen without their questions")
    ranks = pd.DataFrame(values.T).rank().to_numpy().T
    return np.asarray(100 * (ranks - 1) / max(values.shape[1] - 1, 1)).ravel()


def _mean_rank(ranks: Sequence[np.ndarray], kept: Sequence[set[int]]) -> float:
    return float(np.mean([rank[sorted(own)].mean() for rank, own in zip(ranks, kept, strict=True)]))


def _common(kept: Sequence[set[int]], others: Sequence[set[int]]) -> float:
    return 100 * float(np.mean([len(a & b) / len(a) for a, b in zip(kept, others, strict=True)]))
