"""A cache for encoded images that several questions are about."""

from __future__ import annotations

from collections.abc import Hashable

import torch

from script_exp.models.stage_outputs import Features


class FeatureCache:
    """Holds encoded images in host memory, up to a limit.

    An image that does not fit is not cached, and nothing is evicted. Cells go through a benchmark in the same
    order, so evicting the oldest would evict every image just before it is needed again.
    """

    def __init__(self, limit: float) -> None:
        """``limit`` in bytes; 0 keeps nothing."""
        self.limit = limit
        self.held = 0
        self._features: dict[Hashable, Features] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._features

    def get(self, key: Hashable, device: torch.device) -> Features | None:
        """Return the features under ``key`` on ``device``; None if they are not cached."""
        found = self._features.get(key)
        return None if found is None else found.to(device)

    def put(self, key: Hashable, features: Features) -> None:
        """Keep ``features`` if there is room."""
        on_host = features.to(torch.device("cpu"))
        if key not in self._features and self.held + on_host.nbytes <= self.limit:
            self._features[key] = on_host
            self.held += on_host.nbytes
