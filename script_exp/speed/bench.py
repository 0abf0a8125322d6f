"""Compare the speed of several pruners and budgets with the unpruned model, in one process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from script_exp.benchmarks.base import Sample, spread_over
from script_exp.cell.answer import count_tokens
from script_exp.cell.prepared import RunCell
from script_exp.cell.skipped import Skipped
from script_exp.errors import SettingError, UserError, check_whole
from script_exp.measure.ceiling import matmul_ceiling
from script_exp.measure.latency import Latency, LatencyInput, LatencyProtocol, measure_latency
from script_exp.models.families.adapter import Visual
from script_exp.models.prunable import PrunableModel
from script_exp.results.record import SampleTokens
from script_exp.results.summarize import one_latency, summarize_costs, summarize_tokens

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class BenchSettings:
    """The settings in the group ``bench``; ``conf/bench.yaml`` explains the keys."""

    samples: int
    image_size: list[int] | None
    warm_up: int
    repeats: int
    decode_steps: int

    @classmethod
    def from_config(cls, plain: dict[str, Any]) -> BenchSettings:
        """Check the group and return it.

        Raises:
            UserError: for a missing or unknown key, or an invalid value.
        """
        known = cls.__dataclass_fields__.keys()
        if plain.keys() != known:
            raise UserError(f"bench has the keys {', '.join(plain)}: expected {', '.join(known)}")
        for key in ("samples", "repeats"):
            check_whole(f"bench.{key}", plain[key], lowest=1)
        for key in ("warm_up", "decode_steps"):
            check_whole(f"bench.{key}", plain[key], lowest=0)
        size = plain["image_size"]
        if size is not None:
            if not isinstance(size, list) or len(size) != 2:
                raise SettingError("bench.image_size", size, "[width, height] in pixels, or null")
            for side in size:
                check_whole("bench.image_size", side, lowest=1)
        return cls(**plain)

    @property
    def protocol(self) -> LatencyProtocol:
        """How many passes to run."""
        return LatencyProtocol(self.warm_up, self.repeats, self.decode_steps)


def run_bench(cells: Sequence[RunCell], settings: BenchSettings) -> dict[str, Any]:
    """Measure checked cells that differ only in pruner and budget, together with the unpruned model.

    Args:
        cells: one per method.
        settings: the inputs and the number of passes.

    Returns:
        the contents of ``bench.json``.

    Raises:
        UserError: if a model or a sample cannot be loaded.
    """
    unpruned = cells[0].unpruned()
    by_name = {"unpruned": unpruned} | {method_name(cell): cell for cell in cells}
    # A cell that needs the query encoder has to load it; all cells share the model.
    model = max(by_name.values(), key=lambda cell: cell.pruner.needs_query).load()
    asking = next((cell for cell in cells if cell.pruner.reads.question), unpruned)  # the text is its own
    samples = _samples(asking, model, settings)
    inputs = [
        LatencyInput(sample.visuals(), model.chat_prompt(sample.prompt, sample.images), sample.query)
        for sample in samples
    ]
    ceiling = matmul_ceiling(unpruned.device, unpruned.dtype)
    pruners = {name: cell.pruner for name, cell in by_name.items()}
    sizes = {name: count_tokens(model, pruner, samples) for name, pruner in pruners.items()}
    latencies = measure_latency(model, inputs, pruners, settings.protocol)
    methods = [
        _method(model, name, cell, latencies[name], sizes[name], ceiling) for name, cell in by_name.items()
    ]
    for method in methods:
        for total in ("llm_prefill", "ttft"):
            first, this = (one["latency"][f"{total}_ms"] for one in (methods[0], method))
            method[f"{total}_speedup"] = first / this
        method["flops_ratio"] = methods[0]["flops"]["prefill_total"] / method["flops"]["prefill_total"]
    return {
        "schema_version": SCHEMA_VERSION,
        "model": unpruned.settings.model.name,
        "benchmark": unpruned.settings.benchmark["name"],
        "bench": vars(settings),
        "matmul_ceiling_flops_per_s": ceiling,
        "methods": methods,
        "provenance": unpruned.provenance(),
    }


def method_name(cell: RunCell) -> str:
    """Return pruner and budget as tables show them."""
    return f"{cell.settings.pruner['name']} @ {cell.settings.budget}"


def _samples(cell: RunCell, model: PrunableModel, settings: BenchSettings) -> list[Sample]:
    """Return a few samples from the whole benchmark, with their images in memory."""
    samples = Skipped(allowed=False).loaded(model, spread_over(cell.samples(), settings.samples))
    if settings.image_size is None:
        return samples
    width, height = settings.image_size
    return [replace(sample, visual=partial(_resized, sample.visual(), (width, height))) for sample in samples]


def _resized(visual: Visual, size: tuple[int, int]) -> Visual:
    return (
        visual.resize(size) if isinstance(visual, Image.Image) else [frame.resize(size) for frame in visual]
    )


def _method(
    model: PrunableModel,
    name: str,
    cell: RunCell,
    latency: Latency,
    sizes: Sequence[SampleTokens],
    ceiling: float,
) -> dict[str, Any]:
    flops, cache = summarize_costs(model, cell.pruner, sizes)
    counts, took = flops["stages"], latency.stages
    stage_flops = {
        "vision": counts["vision_tower"] + counts["projector"],
        "llm": counts["llm"] + counts["lm_head"],
    }
    return {
        "method": name,
        "pruner": cell.settings.pruner["name"],
        "budget": cell.settings.budget,
        "variant": cell.as_recorded.variant,
        "tokens": vars(summarize_tokens(sizes, cell.settings.budget))
        | {"text": float(np.mean([size.text for size in sizes]))},
        "flops": flops,
        "kv_cache_bytes": cache,
        "latency": one_latency(latency) | {"repeats": latency.repeats},
        "share_of_ceiling": {
            stage: count / (took[stage].median / 1e3) / ceiling for stage, count in stage_flops.items()
        },
    }
