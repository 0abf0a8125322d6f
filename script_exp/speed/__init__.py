"""The speed of methods on one model, without measuring accuracy."""
