"""Speed of methods on one model, without a benchmark's accuracy."""
