"""Measure the cost of the attention row that FastV ranks by, against the unpruned prefill of the LLM.

It is compared with what is done elsewhere: the layer before the pruning runs an eager kernel, which
materializes all n x n probabilities of every head.

python benchmarks_speed/attention_row.py [--device cpu] [--processor-time]
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from report import Given, command_line, compared, print_cases, write_report
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from script_exp.measure.clock import interleaved
from script_exp.models.attention_rows import last_row, last_row_attention
from script_exp.models.loading.architectures import ARCHITECTURES
from script_exp.tiny import WEIGHTS

_LAYER = 1  # the layer before FastV's K = 2
_TEXT = 60
_CASES = (("tiny", 576), ("llava_1_5_7b", 576), ("llava_next_7b", 2880))  # visual tokens
_QUARTER = 4  # divides the 7B models' width and depth on a CPU, where a prefill then still takes seconds


def language_model(name: str, device: torch.device) -> Any:
    """Build an architecture's LLM with random weights: half precision on a GPU, float32 on a CPU."""
    whole = AutoConfig.from_pretrained(WEIGHTS) if name == "tiny" else ARCHITECTURES[name]()
    config = copy.deepcopy(whole.get_text_config())
    config.vocab_size, config.pad_token_id = (
        32,
        None,
    )  # the head runs at one position only, so it costs next to nothing
    if device.type == "cpu" and name != "tiny":
        for part in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"):
            setattr(config, part, getattr(config, part) // _QUARTER)
        config.num_key_value_heads = min(config.num_key_value_heads, config.num_attention_heads)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa").eval()


@contextmanager
def eager_layer(layer: Any, receive: Callable[[Tensor], None]) -> Iterator[None]:
    """Swap in an eager kernel for one layer, and pass its last row (mean over heads) to ``receive``."""

    def kernel(
        module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
    ) -> Any:
        if module is not layer:
            return fast(module, query, key, value, mask, **kwargs)
        groups, length = query.shape[1] // key.shape[1], query.shape[2]
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
        causal = torch.full((length, length), -torch.inf, dtype=query.dtype, device=query.device).triu(1)
        scores = query @ key.mT * kwargs["scaling"] + causal
        weights = scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
        receive(weights.mean(dim=1)[:, -1])
        return (weights @ value).transpose(1, 2).contiguous(), weights

    fast = ALL_ATTENTION_FUNCTIONS["sdpa"]
    ALL_ATTENTION_FUNCTIONS["sdpa"] = kernel
    try:
        yield
    finally:
        del ALL_ATTENTION_FUNCTIONS["sdpa"]


def case(name: str, visual: int, given: Given) -> dict[str, Any]:
    """Time one LLM: its prefill as it is, with the row read, with one eager layer, and the row alone."""
    model = language_model(name, given.clock.device)
    config, attention = model.config, model.model.layers[_LAYER].self_attn
    length, kind = visual + _TEXT, {"dtype": model.dtype, "device": model.device}
    embeddings = torch.randn(1, length, config.hidden_size, **kind) * 0.02
    query = torch.randn(1, config.num_attention_heads, length, attention.head_dim, **kind)
    key = torch.randn(1, config.num_key_value_heads, length, attention.head_dim, **kind)
    rows: dict[str, Tensor] = {}

    def prefill() -> None:
        model(inputs_embeds=embeddings, use_cache=True, logits_to_keep=1)

    def with_row() -> None:
        with last_row_attention(attention, lambda row: rows.update(ours=row.mean(dim=1))):
            prefill()

    def with_eager() -> None:
        with eager_layer(attention, lambda row: rows.update(eager=row)):
            prefill()

    with_row()
    with_eager()
    torch.testing.assert_close(rows["ours"], rows["eager"].float(), rtol=2e-2, atol=1e-4)
    calls = {
        "unpruned": prefill,
        "unpruned again": prefill,  # the same call: its difference is noise
        "row read": with_row,
        "one layer eager": with_eager,
        "row alone": lambda: last_row(query, key, None, attention.scaling).mean(dim=1),
    }
    times = interleaved(given.clock, calls, warm_up=given.warm_up, repeats=given.repeats)
    share = times["row alone"].median / times["unpruned"].median
    shape = f"{name}: {config.num_hidden_layers} layers of {config.hidden_size}, {visual} + {_TEXT} tokens"
    return {"case": shape, "row_share_of_prefill": share, **compared(times, "unpruned")}


@torch.inference_mode()
def main(arguments: list[str] | None = None) -> None:
    given = command_line(__doc__, arguments, repeats=15)
    on_cpu = given.clock.device.type == "cpu"
    cases = [
        case(name, visual, given)
        for name, visual in _CASES
        if not (on_cpu and visual > 576)  # each prefill takes minutes
    ]
    print_cases(f"attention row ({given.clock_name})", cases, "unpruned")
    for one in cases:
        print(f"{one['case']}: the row takes {one['row_share_of_prefill']:.2%} of the unpruned prefill")
    write_report("attention_row", given, {"cases": cases})


if __name__ == "__main__":
    main()
