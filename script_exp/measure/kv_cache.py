"""Bytes that the LLM's cache holds: keys and values, and the states of linear attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from script_exp.measure.flops import head_dim
from script_exp.measure.linear_attention import state_bytes
from script_exp.models.layer_kinds import LINEAR, kind_of, window_of


def kv_cache_bytes(config: Any, lengths: Sequence[int], bytes_per_value: int) -> int:
    """Return the bytes that the cache holds at ``lengths[i]`` positions in layer i.

    A layer with a sliding window keeps one position less than it spans: the next token's own fills it. A
    layer of linear attention holds as much of any prompt.
    """
    position = 2 * int(config.num_key_value_heads) * head_dim(config) * bytes_per_value
    total = 0
    for index, tokens in enumerate(lengths):
        window = window_of(config, index)
        if kind_of(config, index) == LINEAR:
            total += state_bytes(config, bytes_per_value)
        else:
            total += position * (tokens if window is None else min(tokens, window - 1))
    return total


def held_bytes(cache: Any) -> int:
    """Return the bytes that the layers of a cache of transformers hold."""
    total = 0
    for layer in cache.layers:
        if hasattr(layer, "recurrent_states"):
            tensors = [*layer.conv_states.values(), *layer.recurrent_states.values()]
        else:
            tensors = [layer.keys, layer.values]
        total += sum(tensor.nbytes for tensor in tensors)
    return total
