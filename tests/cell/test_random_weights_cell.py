"""A cell of a newer family without a checkpoint, from its settings to the result that the runner writes."""

from __future__ import annotations

import pytest
from families import CONFIGS

from script_exp.cell.prepared import RunCell
from script_exp.cell.run import run_cell
from script_exp.config.settings import RunSettings
from script_exp.sweeps.experiment import composed_cells


def test_a_newer_family_with_random_weights(tmp_path):
    config = CONFIGS["internvl"]()
    config.save_pretrained(tmp_path / "small")
    given = [f"model.path={tmp_path / 'small'}", "model.weights=random", "dtype=float32", "limit=1"]
    ((_, composed),) = composed_cells(
        [*given, "model=internvl3_8b", "pruner=script", "budget=4", f"outputs={tmp_path / 'outputs'}"]
    )
    cell = RunCell.prepare(RunSettings.from_config(composed))
    result = run_cell(cell)
    assert result["accuracy"] is None
    tokens, latency = result["tokens"], result["latency"]
    assert tokens["visual"] == 16 * tokens["crops"]
    assert tokens["kept"] == 4 * tokens["crops"]
    for measured in (latency, latency["unpruned"]):
        assert all(stage["median"] > 0 for stage in measured["stages"].values())
    assert (
        latency["kv_cache_bytes_held"]
        == result["kv_cache_bytes"]
        < latency["unpruned"]["kv_cache_bytes_held"]
    )
    assert sum(result["flops"]["stages"].values()) == pytest.approx(result["flops"]["prefill_total"])
    assert run_cell(cell) == result  # finished, and not run again
