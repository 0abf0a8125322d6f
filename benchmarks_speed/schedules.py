"""Time the LLM's prefill under the schedules of methods inside it, beside what their operations say.

python benchmarks_speed/schedules.py [--device cpu] [--processor-time]

All methods have the same budget as a mean over the layers, and lay it out differently. The LLM is
LLaVA-1.5-7B's at full width with random weights; on a CPU with fewer layers. The table for docs/speed.md is
printed, and written beside the results.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from report import Given, command_line, compared, print_cases, write_report, write_table
from torch import Tensor
from transformers import AutoModelForCausalLM

from script_exp.measure.clock import interleaved
from script_exp.measure.flops import attention_row, decoder, lm_head
from script_exp.measure.layer_flops import last_rows, stage_operations
from script_exp.models.layer_hooks import layer_pruning
from script_exp.models.loading.architectures import ARCHITECTURES
from script_exp.pruners import (
    DART,
    PACT,
    VTW,
    FastV,
    Feather,
    FitPrune,
    HiMAP,
    HoliTomInside,
    LayerPruner,
    MustDrop,
    PruneVidInside,
    Pyramid,
    PyramidDrop,
    SparseVLM,
    SparseVLMPlus,
    V2Drop,
)
from script_exp.pruners.contract.layer_signals import Origin, TokensKnown
from script_exp.pruners.contract.signals import SALIENCY

METHODS: Mapping[str, Callable[..., LayerPruner]] = {
    "fastv": FastV,
    "dart": DART,
    "pact": partial(PACT, layer=2),  # its own stage, and the last two, are too late for the mean
    "vtw": VTW,
    "pyramid": Pyramid,
    "pyramiddrop": PyramidDrop,
    "himap": HiMAP,
    "sparsevlm": SparseVLM,
    "sparsevlm_plus": SparseVLMPlus,
    "fitprune": FitPrune,
    "v2drop": V2Drop,
    "feather": Feather,
    "mustdrop": MustDrop,
    "prunevid_inside": partial(PruneVidInside, stages=[1 / 8]),
    "holitom_inside": partial(HoliTomInside, stages=[1 / 8]),
}
_BUDGET = 192
_SIDE = 24  # of the grid of visual tokens
_BEFORE, _BEHIND = 35, 25  # tokens of text before and behind the image in LLaVA's prompts
_CPU_LAYERS = 8


def text_config(device: torch.device) -> Any:
    """Return the LLM's config; the head runs at one position alone, so its vocabulary is cut."""
    config = copy.deepcopy(ARCHITECTURES["llava_1_5_7b"]().get_text_config())
    config.vocab_size, config.pad_token_id = 32, None
    if device.type == "cpu":
        config.num_hidden_layers = _CPU_LAYERS
    return config


def known() -> TokensKnown:
    """Return places, a made attention of the tower, and origins of the tokens of one image."""
    every = torch.arange(_SIDE**2)
    grid = torch.stack([every // _SIDE, every % _SIDE], dim=-1)
    attended = torch.rand(len(every), generator=torch.Generator().manual_seed(0))
    alone = torch.zeros_like(every)
    return TokensKnown(grid, {SALIENCY: attended}, Origin(alone, alone, every, alone))


def operations(config: Any, pruner: LayerPruner | None) -> int:
    """Count the operations of a prefill, those of the method included."""
    layers, visual, text = config.num_hidden_layers, _SIDE**2, _BEFORE + _BEHIND
    if pruner is None:
        return decoder(config, [visual + text] * layers) + lm_head(config)
    lengths, schedule = pruner.lengths(visual, layers), pruner.schedule(visual, layers)
    total = decoder(config, [length + text for length in lengths]) + lm_head(config)
    total += sum(attention_row(config, lengths[stage - 1] + text) for stage in last_rows(pruner, schedule))
    return total + stage_operations(config, pruner, schedule, visual, text, _BEHIND)


def prefill(model: Any, embeddings: Tensor, pruner: LayerPruner | None) -> list[int]:
    """Run the prompt up to the logits of its last position, and return what each layer's cache holds."""
    call = partial(model, inputs_embeds=embeddings, use_cache=True, logits_to_keep=1)
    if pruner is None:
        output = call()
    else:
        visual = torch.zeros(1, embeddings.shape[1], dtype=torch.bool, device=embeddings.device)
        visual[:, _BEFORE:-_BEHIND] = True
        with layer_pruning(model.model, pruner, visual, [1], known=[known().to(embeddings.device)]):
            output = call()
    return [layer.keys.shape[2] for layer in output.past_key_values.layers]


def schedule_case(given: Given) -> dict[str, Any]:
    """Time all methods in turn, and the unpruned LLM.

    Raises:
        RuntimeError: if a layer saw other tokens than the schedule says.
    """
    device = given.clock.device
    config, text = text_config(device), _BEFORE + _BEHIND
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa").eval()
    embeddings = torch.randn(1, _SIDE**2 + text, config.hidden_size, dtype=dtype, device=device) * 0.02
    pruners = {name: make(budget=_BUDGET) for name, make in METHODS.items()}
    layers, visual = config.num_hidden_layers, _SIDE**2
    lengths = {name: pruner.lengths(visual, layers) for name, pruner in pruners.items()}
    for name, pruner in pruners.items():
        held = prefill(model, embeddings, pruner)
        if held != [length + text for length in lengths[name]]:
            raise RuntimeError(f"{name}: the caches hold {held} tokens, the schedule says {lengths[name]}")
    calls: dict[str, Callable[[], object]] = {
        "unpruned": lambda: prefill(model, embeddings, None),
        "unpruned again": lambda: prefill(model, embeddings, None),  # the same call: its difference is noise
        **{name: partial(prefill, model, embeddings, pruner) for name, pruner in pruners.items()},
    }
    times = interleaved(given.clock, calls, warm_up=given.warm_up, repeats=given.repeats)
    unpruned = operations(config, None)
    return {
        "case": f"{layers} layers of {config.hidden_size}, {visual} + {text} tokens",
        **compared(times, "unpruned"),
        "by_layer": lengths,
        "operations": {name: operations(config, pruner) / unpruned for name, pruner in pruners.items()},
    }


def markdown(case: dict[str, Any]) -> str:
    """Return the table of docs/speed.md: a line per method; shares are those of the unpruned prefill."""
    lines = [
        "| method | tokens, mean over the layers | prefill, ms | share of the time | of the operations |",
        "|---|---|---|---|---|",
        f"| unpruned | {_SIDE**2} | {case['ms']['unpruned']['median']:.1f} | 1 | 1 |",
    ]
    for name, share in case["operations"].items():
        mean = sum(case["by_layer"][name]) / len(case["by_layer"][name])
        median, took = case["ms"][name]["median"], case["times_ours"][name]
        lines.append(f"| `{name}` | {mean:.1f} | {median:.1f} | {took:.2f} | {share:.2f} |")
    return "\n".join(lines) + "\n"


@torch.inference_mode()
def main(arguments: list[str] | None = None) -> None:
    given = command_line(__doc__, arguments, repeats=7)
    case = schedule_case(given)
    print_cases(f"schedules, {_BUDGET} tokens as a mean ({given.clock_name})", [case], "unpruned")
    write_report("schedules", given, {"budget": _BUDGET, "cases": [case]})
    write_table("schedules", given, markdown(case))


if __name__ == "__main__":
    main()
