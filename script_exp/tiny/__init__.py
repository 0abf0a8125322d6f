"""The embedded default model, a really trained, very small LLaVA, and the world it answers about."""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
"""Folder of the shipped checkpoint; ``WEIGHTS / "clip"`` holds the CLIP text side that belongs to it."""

__all__ = ["WEIGHTS"]
