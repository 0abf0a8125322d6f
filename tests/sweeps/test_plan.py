"""The plan of a sweep, from composed configs."""

from __future__ import annotations

from pathlib import Path

import torch

from script_exp.config.settings import RunSettings
from script_exp.sweeps.experiment import composed_cells
from script_exp.sweeps.plan import plan_cells

QUICK = ["benchmark.scenes=1", "latency=off", "unpruned=off"]


def planned(*arguments, device=None):
    return plan_cells(Path("sweep"), composed_cells(arguments), device)


def test_cells_with_one_identity_are_one_cell(tmp_path):
    cells = planned("pruner=none,trim", "budget=64,32", "seed=0,1", *QUICK, f"outputs={tmp_path}")
    assert [cell.overrides[:3] for cell in cells] == [
        ["pruner=none", "budget=64", "seed=0"],
        ["pruner=trim", "budget=64", "seed=0"],
        ["pruner=trim", "budget=32", "seed=0"],
    ]
    assert {cell.state for cell in cells} == {"missing"}


def test_a_gpu_that_only_the_jobs_have(tmp_path, monkeypatch):
    """On a login node: what is finished on a GPU is found, what is finished on its CPU is another run."""
    from script_exp.cell import finished, prepared

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    seen = []
    monkeypatch.setattr(finished, "read_done", lambda cell: seen.append(cell) or {})
    monkeypatch.setattr(finished, "note_changes", lambda cell, directory: None)
    arguments = ["pruner=random", "budget=8", "dtype=auto,bfloat16", *QUICK, f"outputs={tmp_path}"]
    there = planned(*arguments, device="cuda")
    used = [(cell.identified_by["device"], cell.identified_by["dtype"]) for cell in seen]
    assert used == [("cuda", "torch.float32"), ("cuda", "torch.bfloat16")]
    here = planned(*arguments)
    assert not {cell.run_dir for cell in there} & {cell.run_dir for cell in here}
    monkeypatch.setattr(prepared, "resolve_device", lambda device: torch.device("cuda"))
    on_gpu = [
        prepared.RunCell.prepare(RunSettings.from_config(config)).directory
        for _, config in composed_cells([*arguments, "dtype=auto"])
    ]
    assert [there[0].run_dir] == on_gpu
