"""Micro-benchmarks: each script prints ratios of times taken in one process, and writes them as JSON."""
