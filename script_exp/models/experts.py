"""Which layers of an LLM are mixtures of experts."""

from __future__ import annotations

from typing import Any


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
