"""The embedded models: a trained, very small LLaVA whose weights ship with the package; one has crops."""

from collections.abc import Mapping
from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
"""Folder of the shipped checkpoint; ``WEIGHTS / "clip"`` holds the text side of its CLIP."""
NEXT_WEIGHTS = Path(__file__).parent / "next_weights"
"""The same of the LLaVA-NeXT that was trained from it."""
EMBEDDED: Mapping[str, Path] = {"embedded": WEIGHTS, "embedded_next": NEXT_WEIGHTS}
"""Values of ``model.path`` that name a checkpoint of the package."""

__all__ = ["EMBEDDED", "NEXT_WEIGHTS", "WEIGHTS"]
