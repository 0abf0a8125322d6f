"""From finished runs to tables and figures. Nothing here imports torch or touches a model."""
