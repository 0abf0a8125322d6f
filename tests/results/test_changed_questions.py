"""A benchmark derived from ``Benchmark`` alone: changed questions and prompts are another run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from processes import last_line, run

from script_exp.benchmarks.shapes import Shapes

ASKS = """
import json
from dataclasses import dataclass, replace
from pathlib import Path
from script_exp.benchmarks.base import Benchmark
from script_exp.benchmarks.shapes import Shapes

@dataclass
class Asks(Benchmark):
    scenes: int
    scene_seed: int
    name, prompt_version, max_new_tokens = "asks", 1, 4

    def samples(self):
        asked = json.loads(Path(__file__).with_name("asked.json").read_text())
        return [replace(sample, **asked) for sample in Shapes(self.scenes, self.scene_seed).samples()]

    def parse(self, sample, prediction):
        return prediction.strip()
"""


@pytest.fixture
def asks(tmp_path):
    """Run the benchmark, which asks what is in a file; the folder and the error output of the run."""
    (tmp_path / "asks.py").write_text(ASKS)

    def asked(**changes):
        (tmp_path / "asked.json").write_text(json.dumps(changes))
        process = run(
            "benchmark._target_=asks.Asks", "benchmark.scenes=1", "limit=2", "pruner=random", "budget=8",
            "latency=off", "unpruned=off", f"outputs={tmp_path / 'outputs'}", PYTHONPATH=str(tmp_path),
        )  # fmt: skip
        return Path(last_line(process)["run_dir"]), process.stderr

    return asked


def test_changed_questions_are_another_run(asks):
    first, _ = asks()
    assert "samples" in json.loads((first / "identity.json").read_text())
    again, said = asks()
    assert again == first
    assert "already finished" in said
    others = [asks(**change)[0] for change in ({"question": "what?"}, {"prompt": "what now?"})]
    assert len({first, *others}) == 3
    assert len({(run / "samples.jsonl").read_text() for run in (first, *others)}) == 3


def test_the_shipped_scenes_need_no_fingerprint_and_those_of_a_subclass_do():
    class Others(Shapes):
        pass

    assert Shapes(1, 3).fingerprint() is None
    assert Others(1, 3).fingerprint() != Others(1, 4).fingerprint()
