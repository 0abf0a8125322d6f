"""Bytes of keys and values that the LLM's cache holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from script_exp.measure.flops import head_dim
from script_exp.models.layer_reading import window_of


def kv_cache_bytes(config: Any, lengths: Sequence[int], bytes_per_value: int) -> int:
    """Return the bytes of keys and values at ``lengths[i]`` positions in layer i.

    A layer with a sliding window keeps one position less than it spans: the next token's own fills it.
    """
    windows = (window_of(config, index) for index in range(len(lengths)))
    held = sum(
        tokens if window is None else min(tokens, window - 1)
        for tokens, window in zip(lengths, windows, strict=True)
    )
    return 2 * held * int(config.num_key_value_heads) * head_dim(config) * bytes_per_value
