"""Encoded images that are asked about more than once."""

from __future__ import annotations

from collections.abc import Hashable

import torch

from script_exp.models.stage_outputs import Features


class FeatureCache:
    """Encoded images in the host's memory, up to a limit.

    Once it is full nothing new comes in and nothing goes out: cells walk through a benchmark in the same
    order, so that dropping the oldest would drop every image just before it is asked for again.
    """

    def __init__(self, limit: float) -> None:
        """``limit`` in bytes; 0 keeps nothing."""
        self.limit = limit
        self.held = 0
        self._features: dict[Hashable, Features] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._features

    def get(self, key: Hashable, device: torch.device) -> Features | None:
        """What is kept under ``key``, on ``device``."""
        found = self._features.get(key)
        return None if found is None else found.to(device)

    def put(self, key: Hashable, features: Features) -> None:
        """Keep ``features`` if there is room."""
        on_host = features.to(torch.device("cpu"))
        if key not in self._features and self.held + on_host.image.nbytes <= self.limit:
            self._features[key] = on_host
            self.held += on_host.image.nbytes
