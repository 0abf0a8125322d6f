"""Finished runs scored again, and the state of the benchmarks' data."""
