"""Score finished runs again, and check the benchmarks' data."""
