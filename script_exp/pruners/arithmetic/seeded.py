"""Random numbers that depend on the run's seed and the sample alone."""

from __future__ import annotations

import hashlib

import torch


def generator(seed: int, key: str) -> torch.Generator:
    """Return a generator for the sample ``key``, the same on every device and in every order of samples."""
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
