"""What each decoder layer of an LLM is, by its config: its kind of attention, its window, its experts."""

from __future__ import annotations

from typing import Any

LINEAR = "linear_attention"
"""Kind of the layers that hold a state of one size in place of keys and values."""


def kind_of(config: Any, index: int) -> str:
    """Return a layer's kind of attention in transformers; configs without ``layer_types`` have one kind."""
    types = getattr(config, "layer_types", None)
    if types is not None:
        return str(types[index])
    return "full_attention" if getattr(config, "sliding_window", None) is None else "sliding_attention"


def window_of(config: Any, index: int) -> int | None:
    """Return the columns that a layer's sliding window spans; None for full attention."""
    return int(config.sliding_window) if kind_of(config, index) == "sliding_attention" else None


def experts_of(config: Any, layer: int | None = None) -> int:
    """Return the experts of ``layer``, or of any if None, from the config of an LLM; 0 without.

    Qwen's mixtures can have a plain MLP in some layers: those in ``mlp_only_layers``, and all but each
    ``decoder_sparse_step``-th.
    """
    if layer is not None:
        plain = layer in (getattr(config, "mlp_only_layers", None) or ())
        if plain or (layer + 1) % getattr(config, "decoder_sparse_step", 1):
            return 0
    found = (getattr(config, name, None) for name in ("num_local_experts", "num_experts"))
    return next(filter(None, found), 0)
