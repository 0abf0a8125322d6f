"""Whether an LLM is a mixture of experts."""

from __future__ import annotations

from typing import Any


def experts_of(config: Any) -> int:
    """Return the experts of each layer, from the config of an LLM; 0 for one without."""
    found = (getattr(config, name, None) for name in ("num_local_experts", "num_experts"))
    return next(filter(None, found), 0)
