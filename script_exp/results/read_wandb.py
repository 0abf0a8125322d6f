"""Read the runs of a Weights & Biases project into the same table as run directories.

Every run that this package logs has its whole ``result.json`` in its summary, under ``result``.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from script_exp.errors import UserError
from script_exp.results.files import parse_json
from script_exp.results.read import Runs, collect
from script_exp.results.result_file import check_result
from script_exp.results.wandb_package import load


def load_wandb(project: str, api: Any = None) -> Runs:
    """Read the finished runs of a project. They have no samples, so paired tests are not possible.

    Args:
        project: ``entity/project``.
        api: a ``wandb.Api``; None creates one, which needs an API key.

    Raises:
        UserError: if the project cannot be read.
    """
    wandb = load()
    if project.count("/") != 1:
        raise UserError(f"--wandb={project}: expected entity/project")
    try:
        api = wandb.Api() if api is None else api
        found = [(f"W&B run {project}/{run.id}", run.state, dict(run.summary)) for run in api.runs(project)]
    except (wandb.Error, ValueError, OSError) as error:
        raise UserError(f"--wandb={project}: cannot be read ({error})") from error
    done = [(place, summary) for place, state, summary in found if state == "finished"]
    runs = collect((place, partial(_result, place, summary), None) for place, summary in done)
    others = [f"{place} has no result: {state}" for place, state, _ in found if state != "finished"]
    return Runs(runs.frame, [*runs.problems, *others])


def _result(place: str, summary: dict[str, Any]) -> dict[str, Any]:
    if "result" not in summary:
        raise UserError(f"{place} has no result in its summary; expected a run logged with tracker=wandb")
    return check_result(parse_json(summary["result"]), place, f"log the run of {place} again")
