"""Read a few rows of an attention layer while the model keeps its fast attention kernel.

Transformers looks up its attention kernels in ``ALL_ATTENTION_FUNCTIONS``. Within the context, a wrapper
replaces the kernel in use. It calls the real kernel, and hands on the q and k that the wanted layer's kernel
gets, after rotary embedding and normalization.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS


@contextmanager
def attention_inputs(
    layer: Any, receive: Callable[[Tensor, Tensor, Tensor | None, float], None]
) -> Iterator[None]:
    """Call ``receive`` with what the attention kernel of ``layer`` gets, at each of its forward passes.

    Args:
        layer: an attention module of a transformers model, for example ``model.layers[1].self_attn``.
        receive: is called with queries (batch, heads, queries, width), keys (batch, key heads, keys, width),
            the kernel's mask, and the factor of the scores.
    """
    name = layer.config._attn_implementation

    def kernel(module: nn.Module) -> Callable[..., Any]:
        if previous is not None:  # another layer is read, too
            return previous  # type: ignore[no-any-return]
        if name == "eager":  # not in the registry: each modeling file has its own
            return sys.modules[type(module).__module__].eager_attention_forward  # type: ignore[no-any-return]
        return ALL_ATTENTION_FUNCTIONS._global_mapping[name]  # type: ignore[no-any-return]

    def wrapper(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        if module is layer:
            receive(query, key, attention_mask, kwargs.get("scaling") or query.shape[-1] ** -0.5)
        return kernel(module)(module, query, key, value, attention_mask, *args, **kwargs)

    previous = ALL_ATTENTION_FUNCTIONS._local_mapping.get(name)
    ALL_ATTENTION_FUNCTIONS[name] = wrapper
    try:
        yield
    finally:
        if previous is None:
            del ALL_ATTENTION_FUNCTIONS[name]
        else:
            ALL_ATTENTION_FUNCTIONS[name] = previous


@contextmanager
def last_row_attention(layer: Any, receive: Callable[[Tensor], None]) -> Iterator[None]:
    """Call ``receive`` with the last query's attention, (batch, heads, keys) in float32, at each forward of
    ``layer``; masked keys have 0.
    """

    def receive_row(query: Tensor, key: Tensor, mask: Tensor | None, scaling: float) -> None:
        receive(last_row(query, key, mask, scaling, softcap_of(layer.config)))

    with attention_inputs(layer, receive_row):
        yield


def softcap_of(config: Any) -> float | None:
    """Return c if a decoder caps its attention scores at c tanh(score / c), as Gemma 2 does; None if not."""
    return getattr(config, "attn_logit_softcapping", None)


def last_row(
    query: Tensor, key: Tensor, mask: Tensor | None, scaling: float, softcap: float | None = None
) -> Tensor:
    """Return the attention of the last query (batch, heads, keys) in float32.

    The last query sees every key, so it needs no causal mask.

    Args:
        query: (batch, heads, queries, width).
        key: (batch, key heads, keys, width); groups of heads share one.
        mask: the attention kernel's mask.
        scaling: factor of the scores.
        softcap: from :func:`softcap_of`.
    """
    batch, heads, _, width = query.shape
    groups = query[:, :, -1].float().reshape(batch, key.shape[1], -1, width)
    scores = _capped((groups @ key.float().mT).reshape(batch, heads, -1) * scaling, softcap)
    if mask is not None and mask.ndim == 2:  # flash attention: 1 at tokens
        scores = scores.masked_fill(~mask.bool()[:, None, -scores.shape[-1] :], -torch.inf)
    elif mask is not None:
        row = mask[:, :, -1, : scores.shape[-1]]
        scores = scores.masked_fill(~row, -torch.inf) if row.dtype == torch.bool else scores + row.float()
    return scores.softmax(dim=-1)


def seen_from(
    rows: Tensor, token: Tensor, window: int | None, block: Tensor | None = None, *, in_window: bool = False
) -> Tensor:
    """Return (rows, length) which columns of one sequence each of ``rows`` sees.

    Args:
        rows: columns of the queries.
        token: (length,) false at padding.
        window: columns that a sliding window spans, the query's own included; None for all.
        block: (length,) number of the block whose tokens also see later ones of it, -1 elsewhere and at
            padding; None if all attention is causal.
        in_window: whether the window also hides earlier tokens of a block.
    """
    distance = rows[:, None] - torch.arange(len(token), device=token.device)
    near = torch.ones_like(distance, dtype=torch.bool) if window is None else distance < window
    seen = (distance >= 0) & token & near
    if block is None:
        return seen
    same = (block[rows, None] == block) & (block >= 0)
    return seen | (same & near if in_window else same)


def attention_of(
    query: Tensor,
    key: Tensor,
    seen: Tensor,
    scaling: float,
    columns: Tensor,
    heads: str = "each",
    softcap: float | None = None,
) -> Tensor:
    """Return attention in float32 at some columns: (heads, rows, columns), or (rows, columns) if reduced.

    Goes through the key heads one by one, so that a reduced result never holds all of them.

    Args:
        query: (heads, rows, width).
        key: (key heads, length, width); groups of heads share one.
        seen: (rows, length) which keys a row sees, at least one.
        scaling: factor of the scores.
        columns: columns to return.
        heads: ``each``, or ``mean`` or ``max`` over them.
        softcap: from :func:`softcap_of`.
    """
    groups = torch.unflatten(query.float(), 0, (len(key), -1))
    parts: list[Tensor] = []
    for group, own in zip(groups, key.float(), strict=True):
        scores = _capped(group @ own.mT * scaling, softcap).masked_fill(~seen, -torch.inf)
        part = scores.softmax(dim=-1)[..., columns]
        if heads == "mean":
            parts = [sum(parts, part.sum(dim=0))]
        elif heads == "max":
            parts = [torch.stack([*parts, part.amax(dim=0)]).amax(dim=0)]
        else:
            parts.append(part)
    return torch.cat(parts) if heads == "each" else parts[0] / (len(query) if heads == "mean" else 1)


def weighted(mask: Tensor, weights: Tensor) -> Tensor:
    """Return a mask of numbers that also adds ``weights`` to the scores of each key.

    Args:
        mask: (batch, 1, queries, keys), of bool or of numbers that are added.
        weights: (batch, at least keys), those of the last keys.
    """
    added = weights[:, None, None, -mask.shape[-1] :]
    if mask.dtype == torch.bool:
        return torch.where(mask, added, torch.finfo(weights.dtype).min)
    return mask + added


def _capped(scores: Tensor, softcap: float | None) -> Tensor:
    return scores if softcap is None else (scores / softcap).tanh() * softcap
