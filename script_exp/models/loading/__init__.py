"""Load a model into memory from a name or a folder."""
