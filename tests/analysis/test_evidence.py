"""The share of the evidence that a method kept on made clips, against a loop over pixels and runs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from script_exp.analysis.evidence_table import evidence_tables
from script_exp.cell.prepared import RunCell
from script_exp.cell.run import run_cell
from script_exp.commands.evidence import main
from script_exp.config.command_line import CONF
from script_exp.config.settings import RunSettings
from script_exp.errors import UserError
from script_exp.results.read import load_runs
from script_exp.shapes.clips import plan_clip
from script_exp.shapes.evidence import share_kept


def by_pixels(needed, kept, side):
    """Each patch as 10 x 10 pixels, each of which lies in one token of a step."""
    count, length = needed.shape[:2]
    merged = -(-length // len(kept))
    pixels = 10 * needed.shape[2]
    shares = []
    for one in range(count):
        left = total = 0.0
        for frame in range(length):
            for row, column in zip(*needed[one, frame].nonzero(), strict=True):
                for y in range(10 * row, 10 * row + 10):
                    for x in range(10 * column, 10 * column + 10):
                        token = (y * side // pixels) * side + x * side // pixels
                        total += needed[one, frame, row, column]
                        left += needed[one, frame, row, column] * (token in kept[frame // merged])
        shares.append(left / total)
    return sum(shares) / count


@pytest.mark.parametrize(("side", "steps"), [(8, 5), (24, 5), (5, 5), (12, 3)])
def test_the_share_is_that_of_the_pixels(side, steps):
    """Also for tokens across patches, and for a tower that merges pairs of frames."""
    clip = plan_clip(3, 0, 5)
    needed = clip.paint()[1][[clip.moment, *clip.counted]]
    rng = np.random.default_rng(side)
    kept = [sorted(rng.permutation(side**2)[: side**2 // 2].tolist()) for _ in range(steps)]
    assert share_kept(needed, kept, side) == pytest.approx(by_pixels(needed, kept, side), abs=1e-4)
    assert share_kept(needed, [list(range(side**2))] * steps, side) == pytest.approx(1)
    assert share_kept(needed, [[]] * steps, side) == 0


def runs_of(outputs, *overrides):
    small = ["benchmark.clips=1", "benchmark.frames=4", "latency=off", "unpruned=off", "tracker=none"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        given = compose(
            "config", ["benchmark=clips", "model=tiny_video", *small, f"outputs={outputs}", *overrides]
        )
    run_cell(RunCell.prepare(RunSettings.from_config(given)))


def test_the_table_of_runs(tmp_path, capsys):
    with pytest.raises(UserError, match=r"no finished run of benchmark=clips with record_kept=true$"):
        evidence_tables(load_runs(tmp_path).frame)
    runs_of(tmp_path, "pruner=none", "record_kept=true")
    runs_of(tmp_path, "pruner=random", "budget=8", "record_kept=true")
    (table,), problems = evidence_tables(load_runs(tmp_path).frame)
    assert not problems
    data = table.data.set_index("method")
    assert data.loc["none", ["evidence", "moment", "count", "order"]].tolist() == pytest.approx([1] * 4)
    assert 0 < data.loc["random", "evidence"] < 1
    assert main([str(tmp_path), "--format", "markdown"]) == 0
    assert "| random |" in capsys.readouterr().out
    for file in tmp_path.rglob("samples.jsonl"):
        lines = [json.loads(line) | {"kept_indices": None} for line in file.read_text().splitlines()]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(UserError, match=r"left out: .*: it does not say what it kept; run it with"):
        evidence_tables(load_runs(tmp_path).frame)
