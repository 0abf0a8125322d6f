"""Commands that only inspect settings do not import torch, which takes seconds."""

from __future__ import annotations

import pytest
from commands import imports


@pytest.mark.parametrize("script", ["runners/run.py", "runners/bench.py"])
@pytest.mark.parametrize("question", [["--help"], ["--cfg", "job"]], ids=str)
def test_answers_without_torch(script, question):
    process, modules = imports(script, *question)
    assert process.returncode == 0, process.stderr
    assert "budget" in process.stdout
    assert "hydra" in modules
    assert not modules & {"torch", "transformers", "pandas", "triton"}
