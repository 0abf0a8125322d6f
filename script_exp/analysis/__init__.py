"""Tables and figures of finished runs. Nothing here imports torch or loads a model."""
