"""Sweeps: what was planned, what became of each cell, and the summary at the end."""
