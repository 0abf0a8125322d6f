"""Time the selection of tokens: ours, the straightforward torch loop, and the loop of the released Script.

python benchmarks_speed/selection.py [--device cpu] [--processor-time]
"""

from __future__ import annotations

from typing import Any

import torch
from references import released_loop, straightforward_map, straightforward_query
from report import Given, command_line, compared, print_cases, write_report
from torch import Tensor

from script_exp.measure.clock import interleaved
from script_exp.pruners import Query, QueryConditioned, Script, VisualTokens
from script_exp.pruners.arithmetic.dpp import dpp_kernel, greedy_map, greedy_map_torch
from script_exp.pruners.arithmetic.similarity import cosines
from script_exp.pruners.before_llm.query import QueryDPP

_N, _WIDTH, _JOINT = 576, 4096, 768  # of LLaVA-1.5-7B and LLaVA-NeXT-7B with CLIP ViT-L/14-336
_LOOPS = ((5, 64), (5, 128), (1, 16), (1, 32), (1, 64), (1, 128), (1, 192))  # crops, picks
_WHOLE = (5, 64)


def tokens(crops: int, device: torch.device, seed: int = 0) -> tuple[VisualTokens, Query]:
    """Draw tokens in clusters with a mean cosine of about 0.4, like CLIP's patches, and a question."""
    generator = torch.Generator().manual_seed(seed)
    common, centers = (
        torch.randn(1, 1, _WIDTH, generator=generator),
        torch.randn(60, _WIDTH, generator=generator),
    )
    own = torch.randn(crops, _N, _WIDTH, generator=generator)
    nearest = torch.randint(60, (crops, _N), generator=generator)
    projected = 0.9 * common + 0.8 * centers[nearest] + 0.7 * own
    joint = torch.randn(crops, _N, _JOINT, generator=generator)
    query = torch.randn(1, _JOINT, generator=generator)
    return VisualTokens(projected.to(device), joint.to(device)), Query(query.to(device))


def kernel_of(visual: VisualTokens, query: Query) -> Tensor:
    """Return the DPP kernel of the query module, the input of greedy MAP."""
    return dpp_kernel(cosines(visual.projected), QueryDPP().relevance(visual, query))


def loop_case(crops: int, k: int, given: Given) -> dict[str, Any]:
    """Time greedy MAP alone, on a given kernel."""
    kernel = kernel_of(*tokens(crops, given.clock.device))
    wanted = greedy_map_torch(kernel, k)
    if not (
        torch.equal(greedy_map(kernel, k), wanted) and torch.equal(straightforward_map(kernel, k), wanted)
    ):
        raise RuntimeError(f"the loops disagree at {crops} x {_N} tokens, {k} picks")
    calls = {
        "ours": lambda: greedy_map(kernel, k),
        "ours, plain torch": lambda: greedy_map_torch(kernel, k),
        "straightforward": lambda: straightforward_map(kernel, k),
        "released": lambda: released_loop(kernel, k),
    }
    times = interleaved(given.clock, calls, warm_up=given.warm_up, repeats=given.repeats)
    return {"case": f"loop, {crops} x {_N}, k={k}", **compared(times, "ours")}


def whole_case(crops: int, k: int, given: Given) -> dict[str, Any]:
    """Time tokens to indices: cosines, relevance, kernel and picks; Script's walk is 2 k picks long."""
    visual, query = tokens(crops, given.clock.device)
    conditioned, script = QueryConditioned(budget=k), Script(budget=k)
    if not torch.equal(conditioned(visual, query).indices, straightforward_query(visual, query, k)):
        raise RuntimeError(f"the selections disagree at {crops} x {_N} tokens, {k} picks")
    calls = {
        "ours": lambda: script(visual, query),
        "ours, query module": lambda: conditioned(visual, query),
        "straightforward, query module": lambda: straightforward_query(visual, query, k),
        "cosines alone": lambda: cosines(visual.projected),
    }
    repeats = max(3, given.repeats // 5)  # each call takes a second on a CPU
    times = interleaved(given.clock, calls, warm_up=1, repeats=repeats)
    return {"case": f"whole, {crops} x {_N}, k={k}", **compared(times, "ours")}


@torch.inference_mode()
def main(arguments: list[str] | None = None) -> None:
    given = command_line(__doc__, arguments, repeats=30)
    cases = [loop_case(crops, k, given) for crops, k in _LOOPS] + [whole_case(*_WHOLE, given)]
    print_cases(f"selection ({given.clock_name})", cases, "ours")
    write_report("selection", given, {"cases": cases})


if __name__ == "__main__":
    main()
