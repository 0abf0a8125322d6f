"""Check from the settings alone that benchmark, pruner and model fit together."""

from __future__ import annotations

import torch

from script_exp.benchmarks.base import Benchmark
from script_exp.config.settings import RunSettings
from script_exp.errors import SettingError, check_choice
from script_exp.models.budgets import check_renumbering, compares_frames
from script_exp.models.compiled import check_compile
from script_exp.models.layer_reading import check_linear, check_weighing
from script_exp.models.loading.checkpoint import Checkpoint
from script_exp.models.loading.load import check_attention, check_kernel
from script_exp.models.loading.placement import check_placement
from script_exp.models.loading.quantization import check_quantization
from script_exp.models.rules import check_positions
from script_exp.pruners import LayerPruner, Pruner
from script_exp.pruners.before_llm.trim import NO_PROJECTOR

_LARGE = 10_000
"""Tokens of a picture of which a share is hardly rounded, where pictures differ in size."""


def check_fit(
    settings: RunSettings, benchmark: Benchmark, pruner: Pruner | LayerPruner, checkpoint: Checkpoint
) -> None:
    """Check that benchmark, pruner and model fit together.

    Raises:
        SettingError: for the first setting that does not fit the others.
    """
    adapter, tokens = checkpoint.adapter, checkpoint.tokens_per_crop
    if benchmark.modality != adapter.modality:
        raise SettingError(
            "benchmark",
            settings.benchmark["name"],
            f"one with {adapter.modality}s; model={settings.model.name} does not take {benchmark.modality}s",
        )
    if compares_frames(pruner) and adapter.modality != "video":
        raise SettingError(
            "pruner",
            settings.pruner["name"],
            f"a method for images; this one compares the frames of a video, and "
            f"benchmark={settings.benchmark['name']} has images",
        )
    if benchmark.has_judge:
        expected = "null in a run; runners/score.py grades its answers with the judge"
        raise SettingError("benchmark.judge.url", settings.benchmark["judge"]["url"], expected)
    if isinstance(pruner, LayerPruner) and pruner.then.weighs:
        check_weighing(type(pruner.then).__name__, settings.attention)
    try:
        if isinstance(pruner, LayerPruner):
            pruner.checked_stages(checkpoint.llm_layers)
            check_renumbering(pruner, adapter)
            check_linear(checkpoint.config.get_text_config(), pruner.then, checkpoint.llm_layers)
            average = pruner.budget_as == "average"
            if adapter.variable_size and isinstance(pruner.budget, int) and average:
                differ = f"images of model={settings.model.name} differ in size"
                why = f"{differ}, and large ones cannot reach such a low average"
                if "after" in pruner.then.meanings:
                    raise SettingError("budget_as", "average", f"after, or a share as budget: {why}")
                raise SettingError("budget", pruner.budget, f"a share between 0 and 1: {why}")
            if tokens is not None:
                pruner.lengths(tokens, checkpoint.llm_layers)
            elif average:
                pruner.lengths(_LARGE, checkpoint.llm_layers)
        first = pruner.first if isinstance(pruner, LayerPruner) else pruner
        adapter.check_reads(pruner.reads, checkpoint.config)
        if first is not None:
            if tokens is not None and not adapter.variable_size:
                first.kept_of(tokens)
            if first.aggregates and not adapter.has_projector:
                raise SettingError("aggregate", True, NO_PROJECTOR)
    except SettingError as error:
        raise error.within("pruner") from error
    try:
        check_choice("conversation", settings.model.conversation, adapter.conversations)
        adapter.check_rules(settings.model.rules)
        if first is not None and first.aggregates:
            check_positions(settings.model.rules)
    except SettingError as error:
        raise error.within("model") from error


def check_here(
    settings: RunSettings,
    pruner: Pruner | LayerPruner,
    checkpoint: Checkpoint,
    device: torch.device,
    dtype: torch.dtype,
) -> None:
    """Check that the model can be loaded on this machine as the settings say.

    Raises:
        SettingError: for the first setting that cannot be followed here.
    """
    model, config, layout = settings.model, checkpoint.config, checkpoint.layout
    check_attention(settings.attention, device, dtype)
    check_kernel(settings.attention, checkpoint.adapter, config.get_text_config())
    if model.compile != "off" and checkpoint.adapter.sees_ahead:
        expected = "off: tokens of this model's prompts see later ones"
        raise SettingError("model.compile", model.compile, expected)
    check_placement(model.placement, settings.device, device, layout, model.compile)
    check_quantization(model.quantization, config, layout, device, model.compile)
    in_llm = isinstance(pruner, LayerPruner)
    check_compile(model.compile, config.get_text_config(), settings.attention, device, in_llm)


def check_frames(
    settings: RunSettings, benchmark: Benchmark, checkpoint: Checkpoint, shortens_prompt: bool
) -> None:
    """Check that the LLM has a position for every visual token of a fixed number of frames.

    Args:
        shortens_prompt: whether the pruner drops tokens before the LLM.

    Raises:
        SettingError: if it has not.
    """
    if benchmark.frame_count is None:
        return
    frames, tokens = benchmark.frame_count, checkpoint.tokens_per_crop
    there, model = checkpoint.llm_positions, settings.model
    if shortens_prompt and model.rules.positions == "contiguous":
        return
    if isinstance(frames, int) and tokens is not None and frames * tokens > there:
        raise SettingError(
            "benchmark.frames",
            frames,
            f"at most {there // tokens} for pruner={settings.pruner['name']}: a frame has {tokens} "
            f"tokens and the LLM of model={model.name} {there:,} positions; with unpruned=off, a method "
            "that prunes before the LLM may use more frames",
        )
