"""DeepStack while tokens are dropped: what the first decoder layers add, at the rows that are left.

A decoder with DeepStack (Meng et al. 2024, arXiv 2406.04334) adds features of inner tower layers to its
visual rows, one level after each of its first layers. It finds these rows by the mask of the whole prompt,
which no longer fits when tokens have been dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from script_exp.models.layer_sequence import LayerSequence


@contextmanager
def deep_rows_kept(llm: Any, left: Callable[[], LayerSequence | None]) -> Iterator[None]:
    """Within the context, add the levels by hooks: to the visual rows of what is ``left`` at each layer.

    The levels are taken out of the decoder's arguments, so that it adds nothing itself. Decoders without
    DeepStack run as they are.

    Args:
        llm: the decoder, with ``layers``.
        left: what the stages so far have left of the prompt; None for all of it.
    """
    with ExitStack() as running:

        def before(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
            running.close()
            levels, marked = kwargs.get("deepstack_visual_embeds"), kwargs.get("visual_pos_masks")
            if levels is None or marked is None:
                return None
            count = marked.flatten().cumsum(dim=0).view(marked.shape) - 1
            row = torch.where(marked, count, -1)  # of the levels, by column of the prompt
            for layer, level in zip(llm.layers, levels, strict=False):
                running.callback(layer.register_forward_hook(partial(_add, level, row, left)).remove)
            return args, kwargs | {"deepstack_visual_embeds": None, "visual_pos_masks": None}

        handle = llm.register_forward_pre_hook(before, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()


def _add(
    level: Tensor,
    row: Tensor,
    left: Callable[[], LayerSequence | None],
    _: nn.Module,
    __: Any,
    hidden: Tensor,
) -> Tensor:
    """Return the hidden states (batch, length, d) with ``level`` (rows, d) added at its rows."""
    sequence = left()
    if sequence is not None:
        row = torch.where(sequence.token, row.to(sequence.column.device).gather(1, sequence.column), -1)
    row = row.to(hidden.device)
    added = hidden + level.to(hidden.device, hidden.dtype)[row.clamp(min=0)]
    return torch.where((row >= 0)[..., None], added, hidden)
