"""Imported once by the process that the project's commands are forked from (processes.py).

Whatever a command imports, and what transformers computes once in a process, is there already when it starts.
Nothing here starts a thread: a fork would not have it.
"""

from __future__ import annotations

import hydra.core.plugins
import matplotlib as mpl
import pandas  # noqa: F401
import scipy.stats  # noqa: F401
import seaborn  # noqa: F401
import transformers.models.clip.modeling_clip
import transformers.models.llama.modeling_llama
import transformers.models.llava.modeling_llava  # noqa: F401
from matplotlib.backends import backend_agg, backend_pdf, backend_svg  # noqa: F401
from transformers.conversion_mapping import get_checkpoint_conversion_mapping

import script_exp.analysis.command
import script_exp.analysis.figures
import script_exp.cell.run
import script_exp.cell.shown
import script_exp.config.command_line
import script_exp.inspection.pictures
import script_exp.report
import script_exp.sweeps.experiment
import script_exp.sweeps.summary
import script_exp.upkeep.report  # noqa: F401
from hydra_plugins import script_exp_launchers  # noqa: F401

mpl.use("agg")
get_checkpoint_conversion_mapping("llava")  # compiles a thousand regular expressions
hydra.core.plugins.Plugins.instance()  # looks for plugins in all installed packages
