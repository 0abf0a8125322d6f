"""The files of a run: how they are written, how its state is determined, and how finished runs are read."""
