"""Hydra launchers of this project; Hydra looks for plugins in the namespace package ``hydra_plugins`` only."""
