"""The identity of a run: the hash of every setting that can change its result."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def identity_hash(identity: dict[str, Any]) -> str:
    """Return the first 10 hex digits of the SHA-256 of ``identity``, in which 1 and 1.0 are equal."""
    return hashlib.sha256(json.dumps(_whole(identity), sort_keys=True).encode()).hexdigest()[:10]


def _whole(value: Any) -> Any:
    """Return ``value`` with every integral float as an integer."""
    if isinstance(value, dict):
        return {key: _whole(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_whole(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
