"""The embedded default model: a trained, very small LLaVA whose weights ship with the package."""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
"""Folder of the shipped checkpoint; ``WEIGHTS / "clip"`` holds the text side of its CLIP."""

__all__ = ["WEIGHTS"]
