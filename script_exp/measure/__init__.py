"""FLOPs, latency, memory and the uncertainty of an accuracy. Definitions: docs/measurement.md."""
