"""A sweeper that plans first, and launchers that survive jobs that die.

Hydra only finds plugins in the namespace ``hydra_plugins``.
"""

from importlib.util import find_spec

from hydra_plugins.script_exp_launchers._planned import PlannedSweeper

__all__ = ["PlannedSweeper"]

# Hydra imports every plugin, even without submitit; the runner then rejects commands that choose these.
if find_spec("submitit"):
    from hydra_plugins.script_exp_launchers._local_processes import LocalProcesses
    from hydra_plugins.script_exp_launchers._slurm import Slurm

    __all__ += ["LocalProcesses", "Slurm"]
