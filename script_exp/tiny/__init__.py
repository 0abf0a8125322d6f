"""The embedded models: very small trained LLaVAs whose weights ship with the package."""

from collections.abc import Mapping
from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
"""Folder of the shipped checkpoint; ``WEIGHTS / "clip"`` holds the text side of its CLIP."""
NEXT_WEIGHTS = Path(__file__).parent / "next_weights"
"""The same of the LLaVA-NeXT that was trained from it."""
SECOND_WEIGHTS = Path(__file__).parent / "second_weights"
"""The same of the LLaVA that was trained from it for the second world of scenes."""
EMBEDDED: Mapping[str, Path] = {
    "embedded": WEIGHTS,
    "embedded_next": NEXT_WEIGHTS,
    "embedded_2": SECOND_WEIGHTS,
}
"""Values of ``model.path`` that name a checkpoint of the package."""

__all__ = ["EMBEDDED", "NEXT_WEIGHTS", "SECOND_WEIGHTS", "WEIGHTS"]
