"""A W&B workspace that shows the runs of a project as this package logs them.

The metrics are those of :func:`~script_exp.results.metrics.final_metrics`.
"""

from __future__ import annotations

import json
from typing import Any

from script_exp.errors import UserError
from script_exp.results.wandb_package import load
from script_exp.results.wandb_rules import reason

NUMBERS = (
    "accuracy/value",
    "accuracy/retained",
    "flops/prefill_total",
    "latency/llm_prefill_ms",
    "tokens/kept",
)
"""What a run is compared by: columns of its list, and a bar plot each."""
_COSTS = ("tokens/layer_average", "flops/prefill_total", "latency/llm_prefill_ms")


def workspace(project: str, group: str | None = None) -> Any:
    """Return a workspace that is not saved yet; ask no server.

    Args:
        project: ``entity/project``.
        group: show only the runs of this sweep; None for all runs.

    Raises:
        UserError: if ``wandb-workspaces`` is not installed, or the project is not named in full.
    """
    load()
    try:
        import wandb_workspaces.reports.v2 as panels
        import wandb_workspaces.workspaces as workspaces
        from wandb_workspaces import expr
    except ImportError as error:
        raise UserError(
            "the package wandb-workspaces is not installed; pip install -e '.[workspace]'"
        ) from error
    entity, _, name = project.partition("/")
    if not entity or not name or "/" in name:
        raise UserError(f"{project}: expected ENTITY/PROJECT")
    finals = [f"summary:{metric}" for metric in NUMBERS]
    sections = {
        "Accuracy by cost": [
            panels.ScatterPlot(
                title=f"{shown} by {cost}", x=panels.SummaryMetric(cost), y=panels.SummaryMetric(shown)
            )
            for shown in NUMBERS[:2]
            for cost in _COSTS
        ],
        "Each number": [panels.BarPlot(title=metric, metrics=[metric]) for metric in NUMBERS],
        "Samples": [
            panels.WeavePanelSummaryTable(table_name="samples"),
            panels.MediaBrowser(title="kept tokens", media_keys=["kept_tokens"]),
        ],
        "While a run answers": [panels.LinePlot(title="accuracy", x="Step", y=["accuracy/running"])],
    }
    return workspaces.Workspace(
        entity=entity,
        project=name,
        name="Visual-token pruning" if group is None else f"Visual-token pruning: {group}",
        sections=[
            workspaces.Section(name=title, panels=shown, is_open=True) for title, shown in sections.items()
        ],
        runset_settings=workspaces.RunsetSettings(
            filters=[] if group is None else [expr.Metric("Group") == group],
            order=[expr.Ordering(expr.Summary("accuracy/value"), ascending=False)],
            pinned_columns=finals,
        ),
    )


def as_json(made: Any) -> str:
    """Return what W&B's server would get of a workspace, as JSON."""
    spec = made._to_model().spec.model_dump_json(by_alias=True, exclude_none=True)
    return json.dumps(json.loads(spec), indent=2) + "\n"


def save(made: Any) -> str:
    """Create the workspace on W&B's server and return its address.

    Raises:
        UserError: if there is no login, the server cannot be reached, or it refuses.
    """
    try:
        return str(made.save().url)
    except Exception as error:  # whatever W&B raises
        place = f"{made.entity}/{made.project}"
        raise UserError(f"W&B: no workspace could be made in {place}: {reason(error)}") from error
