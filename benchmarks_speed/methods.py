"""Time the selection of every method before the LLM beside a straightforward loop.

python benchmarks_speed/methods.py [--device cpu] [--processor-time]

Each call goes from the tokens of an image to those that enter the LLM. What the vision tower computes for a
method is given, and merged tokens pass no projector. The table for docs/speed.md is printed, and written
beside the results.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import dropping_loops as drop
import merging_loops as merge
import torch
from dropping_loops import each_crop
from merging_loops import Loop, Outcome, dropping, merging
from report import Given, command_line, compared, print_cases, write_report, write_table
from selection import tokens
from torch import Tensor
from torch.nn import functional

from script_exp.measure.clock import interleaved
from script_exp.pruners import (
    ApET,
    CDPruner,
    DivPrune,
    FasterVLM,
    GPrune,
    Graph,
    HiPrune,
    HiRED,
    HoloV,
    Kept,
    MMTok,
    Pool,
    PruMerge,
    PruMergePlus,
    Pruner,
    PruneSID,
    Query,
    QueryConditioned,
    Random,
    Scope,
    Script,
    ScriptReleased,
    Stride,
    ToMe,
    Trim,
    VisionZip,
    VisPruner,
    VisualTokens,
    VScan,
)
from script_exp.pruners.contract.signals import Signal

METHODS: Mapping[str, tuple[Callable[..., Pruner], Loop | None]] = {  # most compared first
    "divprune": (DivPrune, dropping(drop.divprune)),
    "cdpruner": (CDPruner, dropping(drop.cdpruner)),
    "query": (QueryConditioned, dropping(each_crop(drop.query_module))),
    "script": (Script, dropping(each_crop(drop.script))),
    "fastervlm": (FasterVLM, dropping(each_crop(drop.fastervlm))),
    "vispruner": (VisPruner, dropping(each_crop(drop.vispruner))),
    "visionzip": (VisionZip, merging(merge.visionzip)),
    "prumerge": (PruMerge, merging(merge.prumerge)),
    "prumerge_plus": (PruMergePlus, merging(merge.prumerge_plus)),
    "scope": (Scope, dropping(each_crop(drop.scope))),
    "mmtok": (MMTok, dropping(each_crop(drop.mmtok))),
    "hiprune": (HiPrune, dropping(each_crop(drop.hiprune))),
    "holov": (HoloV, dropping(drop.holov)),
    "hired": (HiRED, dropping(drop.hired)),
    "gprune": (GPrune, dropping(each_crop(drop.gprune))),
    "tome": (ToMe, merging(merge.tome)),
    "graph": (Graph, dropping(each_crop(drop.graph))),
    "trim": (Trim, merging(merge.trim)),
    "prunesid": (PruneSID, dropping(each_crop(drop.prunesid))),
    "vscan": (VScan, merging(merge.vscan)),
    "apet": (ApET, merging(merge.apet)),
    "pool": (Pool, merging(merge.pool)),
    "stride": (Stride, dropping(each_crop(drop.stride))),
    "random": (Random, dropping(drop.random)),
    "script_released": (ScriptReleased, None),  # its loop is a case of selection.py
}
_TILES = (2, 2)
_K = 64
_TOWER, _KEYS, _WORDS = 1024, 64, 8  # widths of CLIP ViT-L/14-336 and of one of its heads; a short question
_SAME = 0.99  # a near tie may go the other way where a sum is rounded differently


def image(device: torch.device) -> tuple[VisualTokens, Query]:
    """Draw a picture of 1 + 2 x 2 crops with all that the methods read, and a question."""
    visual, query = tokens(1 + math.prod(_TILES), device)
    crops, n, width = visual.projected.shape
    features = tokens(crops, device, seed=1)[0].projected[..., :_TOWER].contiguous()
    generator = torch.Generator().manual_seed(2)

    def drawn(signal: Signal) -> Tensor:
        if signal.kind == "keys":
            values = torch.randn(crops, n, _KEYS, generator=generator)
        elif signal.kind == "flat_keys":
            values = torch.randn(crops, n, _TOWER, generator=generator)
        else:  # attention to the patches and to the class token
            values = torch.randn(crops, n + 1, generator=generator).mul(2).softmax(dim=-1)[:, 1:]
        return values.to(device)

    read = frozenset[Signal]().union(*(make(budget=1).signals for make, _ in METHODS.values()))
    words = torch.randn(_WORDS, width, generator=generator).to(device)
    side = math.isqrt(n)
    visual = replace(
        visual,
        tower=features,
        project=partial(functional.pad, pad=(0, width - _TOWER)),  # stands for the projector, at no cost
        signals={signal: drawn(signal) for signal in sorted(read)},
        grid=(side, side),
        tiles=_TILES,
    )
    return visual, replace(query, sign=-1, words=words)


def same(kept: Kept, outcome: Outcome) -> float:
    """Return the share of the kept tokens that the loop keeps as well."""
    ours = {(crop, index) for crop, own in enumerate(kept.by_crop) for index in own}
    theirs = {(crop, index) for crop, (own, _) in enumerate(outcome) for index in own}
    return len(ours & theirs) / max(len(ours), len(theirs))


def method_case(name: str, visual: VisualTokens, query: Query, given: Given) -> dict[str, Any]:
    """Time one method, from the tokens to those that enter the LLM, beside its loop if there is one."""
    make, loop = METHODS[name]
    pruner = make(budget=_K)
    visual = replace(visual, signals={signal: visual.signals[signal] for signal in pruner.signals})
    if not pruner.needs_query:  # as in a run: the model computes what the method reads
        visual = replace(visual, joint=None)
    calls: dict[str, Callable[[], object]] = {"ours": lambda: pruner(visual, query)}
    case: dict[str, Any] = {"case": name}
    if loop is not None:
        case["same_tokens"] = same(pruner(visual, query), loop(visual, query, _K))
        if case["same_tokens"] < _SAME:
            raise RuntimeError(f"{name}: the loop keeps only {case['same_tokens']:.1%} of our tokens")
        calls["straightforward"] = partial(loop, visual, query, _K)
    times = interleaved(given.clock, calls, warm_up=given.warm_up, repeats=given.repeats)
    return case | compared(times, "ours")


def markdown(cases: list[dict[str, Any]]) -> str:
    """Return the table of docs/speed.md: a line per method, the loop as a multiple of ours."""
    lines = ["| method | ours, ms | straightforward |", "|---|---|---|"]
    for case in cases:
        ratio = case["times_ours"].get("straightforward")
        beside = "" if ratio is None else f"{ratio:.2f}x"
        lines.append(f"| `{case['case']}` | {case['ms']['ours']['median']:.2f} | {beside} |")
    return "\n".join(lines) + "\n"


@torch.inference_mode()
def main(arguments: list[str] | None = None) -> None:
    given = command_line(__doc__, arguments, repeats=10)
    visual, query = image(given.clock.device)
    crops, n, _ = visual.projected.shape
    cases = [method_case(name, visual, query, given) for name in METHODS]
    print_cases(f"methods, {crops} x {n} tokens, k={_K} ({given.clock_name})", cases, "ours")
    write_report("methods", given, {"crops": crops, "tokens": n, "k": _K, "cases": cases})
    write_table("methods", given, markdown(cases))


if __name__ == "__main__":
    main()
