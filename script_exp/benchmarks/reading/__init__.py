"""Files, tables, images and videos of the benchmarks."""
