"""Load a model, encode images and questions, and run it with fewer visual tokens."""
