"""Operations and state of layers of linear attention.

That is the gated delta rule of Yang et al., "Gated delta networks", ICLR 2025, arXiv 2412.06464.
"""

from __future__ import annotations

import math
from typing import Any

_CHUNK = 64
"""Tokens that are computed together, in transformers' own kernel and in flash-linear-attention's."""
_STATE_BYTES = 4
"""Bytes of a value of the recurrent state, which stays in float32."""


def linear_attention(config: Any, tokens: int) -> int:
    """Count what stands in place of attention at ``tokens`` positions, 2 per multiply-accumulate.

    Projections of queries, keys, values, two gates and the output, the convolution over the last positions,
    and the products of transformers' kernel: within chunks of 64 tokens, the last one padded, and of a chunk
    with the state. The two triangular systems of each chunk count nothing, as in torch's counter.
    """
    key, value, heads = _widths(config)
    d, kernel, chunks = config.hidden_size, config.linear_conv_kernel_dim, math.ceil(tokens / _CHUNK)
    projections = tokens * d * (2 * key + 3 * value + 2 * heads)
    convolution = (tokens + kernel - 1) * kernel * (2 * key + value)
    k, v = config.linear_key_head_dim, config.linear_value_head_dim
    rule = chunks * heads * _CHUNK * (_CHUNK * (2 * k + v) + 3 * k * v)
    return int(2 * (projections + convolution + rule))


def state_bytes(config: Any, bytes_per_value: int) -> int:
    """Return the bytes that a layer holds of any prompt: its state, and the window of its convolution."""
    key, value, heads = _widths(config)
    window = (2 * key + value) * config.linear_conv_kernel_dim * bytes_per_value
    return int(window + heads * config.linear_key_head_dim * config.linear_value_head_dim * _STATE_BYTES)


def _widths(config: Any) -> tuple[int, int, int]:
    """Return the widths of all keys and of all values, and the heads of values."""
    heads = config.linear_num_value_heads
    key = config.linear_num_key_heads * config.linear_key_head_dim
    return key, heads * config.linear_value_head_dim, heads
