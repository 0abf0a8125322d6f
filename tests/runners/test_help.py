"""What is only asked about the settings is answered without importing torch, which takes seconds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("script", ["runners/run.py", "runners/bench.py"])
@pytest.mark.parametrize("question", [["--help"], ["--cfg", "job"]], ids=str)
def test_answers_without_torch(script, question):
    command = [sys.executable, "-X", "importtime", str(ROOT / script), *question]
    process = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert "budget" in process.stdout
    imported = set(re.findall(r"\|\s+(\w+)$", process.stderr, flags=re.MULTILINE))
    assert "hydra" in imported
    assert not imported & {"torch", "transformers", "pandas", "triton"}
