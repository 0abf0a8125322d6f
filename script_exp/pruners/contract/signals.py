"""What a method reads of the vision tower and of the question, beyond the visual tokens themselves."""

from __future__ import annotations

from dataclasses import dataclass, replace

from script_exp.errors import SettingError, check_choice

KINDS = ("saliency", "cls", "received", "keys", "flat_saliency", "flat_keys", "class_token")


@dataclass(frozen=True, order=True)
class Signal:
    """One tensor that the vision tower computes on its way, or that follows from what it computes.

    ====================  =============  ===============================================================
    kind                  shape          value, with softmax over all tokens of the crop in float32
    ====================  =============  ===============================================================
    ``cls``               (crops, n)     attention of the class token to each patch, mean over the heads
    ``received``          (crops, n)     attention that a patch receives, mean over heads and all queries
    ``saliency``          (crops, n)     ``cls``, or ``received`` where the tower has no class token
    ``keys``              (crops, n, w)  attention keys, mean over the heads; w is the width of a head
    ``flat_saliency``     (crops, n)     ``saliency`` of a layer taken as one head as wide as the tower
    ``flat_keys``         (crops, n, v)  keys of that head
    ``class_token``       (crops, v)     the class token's features beside those that enter the projector
    ====================  =============  ===============================================================

    Attributes:
        kind: one of :data:`KINDS`.
        layer: a whole number relative to the layer whose output the model reads, which is 0; for ``flat_*``
            at most 1, the layer after it, which itself does not run. Or a share in (0, 1) of the layers that
            run, for layers in the middle: 0.39 is the 9th of the 23 that run of CLIP ViT-L/14-336, and the
            16th, the nearest with attention across windows, of Qwen2.5-VL's 32. 0 for ``class_token``.
    """

    kind: str
    layer: int | float = 0

    def __post_init__(self) -> None:
        check_choice("signal", self.kind, KINDS)
        check_layer(self.layer)


def check_layer(layer: object) -> None:
    """Raise a :class:`SettingError` unless ``layer`` can be the layer of a signal."""
    whole = isinstance(layer, int) and not isinstance(layer, bool)
    if not whole and not (isinstance(layer, float) and 0 < layer < 1):
        raise SettingError(
            "layer", layer, "a whole number, 0 for the layer that the model reads, or a share in (0, 1)"
        )


SALIENCY = Signal("saliency")
"""What most methods rank by: the class token's attention in the layer whose output the model reads."""


@dataclass(frozen=True)
class Reads:
    """All that a method needs besides the projected tokens; nothing else is computed.

    Attributes:
        joint: the question and the patches in the query encoder's space.
        words: the question's words in the LLM's input space.
        signals: tensors of the vision tower.
        smaller_to: tokens of a crop, or a share of them, that the picture is made smaller to before it is
            encoded; None for the picture as it is.
    """

    joint: bool = False
    words: bool = False
    signals: frozenset[Signal] = frozenset()
    smaller_to: int | float | None = None

    @property
    def question(self) -> bool:
        """Whether the question is read at all."""
        return self.joint or self.words

    def __or__(self, other: Reads) -> Reads:
        """Return what is enough for either of two methods.

        Raises:
            ValueError: if they see the picture at different sizes.
        """
        if self.smaller_to != other.smaller_to:
            raise ValueError(f"pictures of {self.smaller_to} and {other.smaller_to} tokens are encoded apart")
        both = self.joint or other.joint, self.words or other.words, self.signals | other.signals
        return Reads(*both, self.smaller_to)

    @property
    def of_whole_picture(self) -> Reads:
        """The same of the picture as it is."""
        return replace(self, smaller_to=None)


NOTHING = Reads()
"""The projected tokens are enough."""
JOINT = Reads(joint=True)
"""The question and the patches in one space."""
