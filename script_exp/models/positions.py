"""How many positions an LLM has, and how many a prompt needs."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def positions_of(config: Any) -> int:
    """Return the positions that the LLM of a model's config supports, stretched as the config says."""
    llm = config.get_text_config()
    own = int(llm.max_position_embeddings)
    rope = getattr(llm, "rope_parameters", None) or {}
    factor = rope.get("factor") or 1
    if rope.get("rope_type") in ("linear", "dynamic"):
        return int(own * factor)
    if rope.get("rope_type") == "yarn":  # other kinds state the stretched number
        return max(own, int((rope.get("original_max_position_embeddings") or own) * factor))
    return own


def positions_needed(arguments: dict[str, Any]) -> list[int]:
    """Return one more than the last position of each row of a prompt.

    Args:
        arguments: those of ``forward``: the mask (batch, length) and, unless the model only counts,
            ``position_ids``: (batch, length), or (axes, batch, length) with a count as the first axis.
    """
    mask: Tensor = arguments["attention_mask"]
    positions: Tensor | None = arguments.get("position_ids")
    if positions is None:
        positions = mask.cumsum(dim=1) - 1
    last = positions if positions.ndim == 2 else positions[1:].amax(dim=0)
    # Waits for the device: how long an answer may be decides when generation ends.
    needed: list[int] = ((last + 1) * mask).amax(dim=1).tolist()
    return needed


def tokens_left(config: Any, arguments: dict[str, Any]) -> list[int]:
    """Return how long each row's answer can be, at least 1: its last token takes no position."""
    there = positions_of(config)
    return [max(1, there - needed + 1) for needed in positions_needed(arguments)]
