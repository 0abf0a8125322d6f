"""benchmark=clips through the real path: its settings, all methods over time, a run that resumes."""

from __future__ import annotations

import numpy as np
import pytest
from commands import answers, result
from hydra import compose, initialize_config_dir

from script_exp.benchmarks.clips import Clips
from script_exp.cell.prepared import RunCell
from script_exp.cell.run import run_cell
from script_exp.config.command_line import CONF
from script_exp.config.settings import RunSettings
from script_exp.errors import UserError
from script_exp.shapes.clip_questions import CLIP_KINDS, made_clips

SMALL = ["benchmark.clips=1", "benchmark.frames=4", "latency=off", "unpruned=off", "tracker=none"]
OVER_TIME = ["evs", "vidcom2", "dycoke", "fastvid", "prunevid", "holitom", "framefusion"]


def cell(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        given = compose("config", ["benchmark=clips", "model=tiny_video", *overrides])
    return RunCell.prepare(RunSettings.from_config(given))


def test_the_samples_are_the_clips():
    benchmark = Clips(clips=2, frames=5, clip_seed=3)
    samples = benchmark.samples()
    assert [sample.id for sample in samples] == [f"3-000{n}-{kind}" for n in (0, 1) for kind in CLIP_KINDS]
    for first, (clip, questions) in zip((0, 3), made_clips(3, 2, 5), strict=True):
        own = samples[first : first + 3]
        assert [(one.prompt, one.references) for one in own] == [(q.text, (q.answer,)) for q in questions]
        frames = own[0].visual()
        assert np.array_equal(np.stack([np.asarray(frame) for frame in frames]), clip.paint()[0])
    assert benchmark.fingerprint() is None
    assert benchmark.score(samples[0], benchmark.parse(samples[0], f" {samples[0].references[0].title()}"))


@pytest.mark.parametrize("name", OVER_TIME)
def test_every_method_over_time_runs(name, tmp_path):
    done = run_cell(cell(*SMALL, "limit=1", f"outputs={tmp_path}", f"pruner={name}", "budget=0.3"))
    assert (done["tokens"]["visual"], done["tokens"]["kept"]) == (256, 77)


def test_a_run_resumes(tmp_path):
    whole, other = (cell(*SMALL, f"outputs={tmp_path / name}", "pruner=evs", "budget=16") for name in "ab")
    run_cell(whole)
    lines = (whole.directory / "samples.jsonl").read_text().splitlines(keepends=True)
    other.directory.mkdir(parents=True)
    (other.directory / "samples.jsonl").write_text(lines[0])
    run_cell(other)
    assert (other.directory / "samples.jsonl").read_text().startswith(lines[0])
    assert "1 of 3 samples already answered" in (other.directory / "run.log").read_text()
    assert answers(other.directory) == answers(whole.directory)
    assert result(other.directory) == result(whole.directory)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["benchmark.clips=0"], r"benchmark\.clips=0: expected a whole number >= 1"),
        (["benchmark.frames=3"], r"benchmark\.frames=3: expected a whole number >= 4"),
        (["benchmark.frames=17"], r"benchmark\.frames=17: expected .*16"),
        (["benchmark.clip_seed=-1"], r"benchmark\.clip_seed=-1: expected a whole number >= 0"),
        (["model=tiny"], "benchmark=clips: expected one with images; model=tiny does not take videos"),
        (["benchmark=shapes"], "benchmark=shapes: expected one with videos; model=tiny_video"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_loaded(overrides, message):
    with pytest.raises(UserError, match=message):
        cell(*overrides)
