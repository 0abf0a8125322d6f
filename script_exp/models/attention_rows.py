"""Read a few rows of an attention layer while the model keeps its fast attention kernel.

Transformers looks its attention kernels up in ``ALL_ATTENTION_FUNCTIONS``. For the time of the context a
wrapper stands in for the kernel in use: it calls the real one, and for the wanted layer it computes
softmax(q k^T) for the last query from the very q and k that the kernel got, after rotary embedding and
normalization.
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
def last_row_attention(layer: Any, receive: Callable[[Tensor], None]) -> Iterator[None]:
    """Call ``receive`` with the last query's attention, (batch, heads, keys) in float32, at each forward of
    ``layer``.

    Args:
        layer: an attention module of a transformers model, for example ``model.layers[1].self_attn``.
        receive: gets the probabilities; keys that the mask hides have 0.
    """
    name = layer.config._attn_implementation

    def kernel(module: nn.Module) -> Callable[..., Any]:
        if name == "eager":  # not in the registry: each modeling file has its own
            return sys.modules[type(module).__module__].eager_attention_forward  # type: ignore[no-any-return]
        return previous or ALL_ATTENTION_FUNCTIONS._global_mapping[name]  # type: ignore[no-any-return]

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
            scaling = kwargs.get("scaling") or query.shape[-1] ** -0.5
            receive(last_row(query, key, attention_mask, scaling))
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


def last_row(query: Tensor, key: Tensor, mask: Tensor | None, scaling: float) -> Tensor:
    """Attention of the last query (batch, heads, keys) in float32; it sees every key, so causality needs no
    mask.

    Args:
        query: (batch, heads, queries, width).
        key: (batch, key heads, keys, width); groups of heads share one.
        mask: as the attention kernel gets it.
        scaling: of the scores.
    """
    batch, heads, _, width = query.shape
    groups = query[:, :, -1].float().reshape(batch, key.shape[1], -1, width)
    scores = (groups @ key.float().mT).reshape(batch, heads, -1) * scaling
    if mask is not None and mask.ndim == 2:  # flash attention: 1 where there is a token
        scores = scores.masked_fill(~mask.bool()[:, None, -scores.shape[-1] :], -torch.inf)
    elif mask is not None:
        row = mask[:, :, -1, : scores.shape[-1]]
        scores = scores.masked_fill(~row, -torch.inf) if row.dtype == torch.bool else scores + row.float()
    return scores.softmax(dim=-1)
