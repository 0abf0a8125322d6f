"""Sweeps: the planned cells, the state of each one, and the summary at the end."""
