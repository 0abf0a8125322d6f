"""The W&B workspace: as JSON without a server, made on a server, and what cannot be."""

from __future__ import annotations

import json

from processes import ROOT, run, start
from wandb_server import KEY, stand_in

from script_exp.results.metrics import final_metrics
from script_exp.results.wandb_workspace import NUMBERS

SCRIPT = "analysis/wandb_workspace.py"
OLD = ROOT / "tests/old_runs/runs/tiny/shapes/script-64-s0-14d060f597/result.json"


def metrics_in(spec: object) -> set[str]:
    """Every name with a slash in the texts of a workspace."""
    if isinstance(spec, dict):
        return set().union(*map(metrics_in, spec.values()))
    if isinstance(spec, list):
        return set().union(*map(metrics_in, spec))
    is_metric = isinstance(spec, str) and "/" in spec and " " not in spec
    return {spec.removeprefix("summary:")} if is_metric else set()


def test_a_workspace_shows_the_metrics_that_runs_have(tmp_path):
    file = tmp_path / "workspace.json"
    offline = run("me/mine", "--group", "budget_sweep", "--to", file, script=SCRIPT)
    assert (offline.returncode, offline.stdout) == (0, f"{file}\n"), offline.stderr
    spec = json.loads(file.read_text())
    result = json.loads(OLD.read_text())
    logged = {*final_metrics(result, result), "accuracy/running"}
    assert {*NUMBERS, "accuracy/running"} <= metrics_in(spec) <= logged
    assert "budget_sweep" in json.dumps(spec)
    with stand_in() as server:
        made = run("me/mine", script=SCRIPT, **server.environment())
        assert made.returncode == 0, made.stderr
        assert made.stdout == f"{server.url}/me/mine?nw=abc\n"
        (view,) = server.views
        assert (view["entityName"], view["projectName"]) == ("me", "mine")
        assert metrics_in(json.loads(view["spec"])) == metrics_in(spec)
        server.status = 403
        refused = run("me/mine", script=SCRIPT, **server.environment())
    assert refused.returncode == 2
    assert [line for line in refused.stderr.splitlines() if line.startswith("error: ")] == [
        refused.stderr.splitlines()[-1]
    ]
    assert "error: W&B: no workspace could be made in me/mine: " in refused.stderr
    assert KEY not in refused.stderr


def test_what_is_missing_is_one_sentence(tmp_path):
    lacks = "import sys\nsys.modules['wandb_workspaces'] = None\n"
    started = start(tmp_path / "out", "me/mine", script=SCRIPT, setup=lacks)
    assert started.wait() == 2
    assert "error: the package wandb-workspaces is not installed; pip install" in started.text()
    other = run("mine", script=SCRIPT)
    assert (other.returncode, other.stderr) == (2, "error: mine: expected ENTITY/PROJECT\n")
