"""Imported once by the process that the project's commands are forked from (processes.py).

Whatever a command imports, and what Hydra and transformers compute once in a process, is there already when
it starts: grammars and regular expressions, and that the shipped weights are whole. Nothing here starts a
thread that lasts: a fork would not have it.
"""

from __future__ import annotations

import os
import tempfile

import fast_yaml
import hydra._internal.logging_config
import hydra.core.plugins
import matplotlib as mpl
import pandas  # noqa: F401
import scipy.stats  # noqa: F401
import seaborn  # noqa: F401
import transformers.models.clip.modeling_clip
import transformers.models.llama.modeling_llama
import transformers.models.llava.modeling_llava  # noqa: F401
import wandb_workspaces.reports.v2
import wandb_workspaces.workspaces  # noqa: F401
from matplotlib.backends import backend_agg, backend_pdf, backend_svg  # noqa: F401
from transformers.conversion_mapping import get_checkpoint_conversion_mapping

import script_exp.analysis.command
import script_exp.analysis.figures
import script_exp.benchmarks.shapes
import script_exp.cell.run
import script_exp.cell.shown
import script_exp.commands.run
import script_exp.inspection.pictures
import script_exp.report
import script_exp.sweeps.summary
import script_exp.upkeep.report  # noqa: F401
from hydra_plugins import script_exp_launchers  # noqa: F401
from script_exp.cell.prepared import RunCell
from script_exp.config.settings import RunSettings
from script_exp.models.loading.load import load_model
from script_exp.results import wandb_package
from script_exp.sweeps.experiment import composed_cells

fast_yaml.install()
wandb_package.load()  # a service is started by each command that logs
mpl.use("agg")
get_checkpoint_conversion_mapping("llava")  # compiles a thousand regular expressions
hydra.core.plugins.Plugins.instance()  # looks for plugins in all installed packages

os.environ["TOKENIZERS_PARALLELISM"] = (
    "false"  # else it would have to be switched off, with a warning, by a fork
)
WORDS = ["benchmark.scenes=2", "tracker=none", "budget=0.5", "limit=1", f"outputs='{tempfile.gettempdir()}'"]
for _, config in composed_cells(WORDS):  # parsers of overrides, interpolations and YAML
    cell = RunCell.prepare(RunSettings.from_config(config))
    load_model(cell.checkpoint, device=cell.device, dtype=cell.dtype, attention="sdpa", with_query=True)
