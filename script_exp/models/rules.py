"""Choices for a model rather than for a pruning method."""

from __future__ import annotations

from dataclasses import dataclass

from script_exp.errors import SettingError, check_choice


@dataclass(frozen=True)
class PruningRules:
    """Choices that come with a model.

    Attributes:
        relevance_sign: the sign of its query encoder's similarity, see :class:`Query`.
        positions: positions of the remaining tokens: ``contiguous`` closes the gaps, as in the official code
            of Script; ``preserved`` keeps those of the full prompt, as in-LLM methods do. Models whose
            positions are more than a count (Qwen2.5-VL) can only preserve them.
        newline: whether the model's separators (newline tokens after each row of patches) stay when the
            prompt is pruned: ``keep`` or ``drop``.
    """

    relevance_sign: int = -1
    positions: str = "contiguous"
    newline: str = "keep"

    def __post_init__(self) -> None:
        check_choice("relevance_sign", self.relevance_sign, (1, -1))
        check_choice("positions", self.positions, ("contiguous", "preserved"))
        check_choice("newline", self.newline, ("keep", "drop"))


def check_positions(rules: PruningRules) -> None:
    """Raise a :class:`SettingError` if aggregated tokens would have to keep their position."""
    if rules.positions == "preserved":
        raise SettingError(
            "positions", "preserved", "contiguous: an aggregated token has no position of its own"
        )
