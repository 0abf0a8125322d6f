"""Launchers that outlive jobs that die. Hydra looks for plugins in the namespace ``hydra_plugins`` only."""

from importlib.util import find_spec

# Hydra imports every plugin, also where submitit is not installed; choosing it there is found by the runner.
if find_spec("submitit"):
    from hydra_plugins.script_exp_launchers._local_processes import LocalProcesses
    from hydra_plugins.script_exp_launchers._slurm import Slurm

    __all__ = ["LocalProcesses", "Slurm"]
