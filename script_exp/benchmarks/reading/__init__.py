"""Read the files, tables, images and videos of the benchmarks."""
