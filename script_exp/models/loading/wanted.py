"""The settings that name a checkpoint; cheap to import, so that they can be checked first."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Wanted:
    """The settings that name a checkpoint.

    Attributes:
        path: ``model.path``: a folder, a hub id, or a key of :data:`~script_exp.tiny.EMBEDDED`.
        clip: ``model.clip``: a folder or a hub id; None for the subfolder ``clip`` of the checkpoint.
        weights: ``pretrained``; or ``random`` for an architecture without weights.
        name: ``model.name``; if it is in ``ARCHITECTURES``, the checkpoint has to have that architecture.
        adapter: ``model.adapter``: dotted name of the family's adapter, imported before the config is read;
            None for the adapter of the checkpoint's architecture.
    """

    path: str
    clip: str | None = None
    weights: str = "pretrained"
    name: str = ""
    adapter: str | None = None
