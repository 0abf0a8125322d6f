"""The README's program runs as printed, and its commands exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def test_the_program_runs():
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1)
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert process.returncode == 0, process.stderr
    answer = re.search(r"user : what shape is the cyan object \? assistant : (\w+)", process.stdout.lower())
    assert answer is not None, process.stdout
    assert answer.group(1) == "diamond"


def test_every_file_that_is_named_exists():
    for target in re.findall(r"\]\((?!https)([^)]+)\)", README):
        assert (ROOT / target).exists(), target
    for script in re.findall(r"(?:runners|analysis)/\w+\.py", README):
        assert (ROOT / script).exists(), script


def test_every_method_has_a_line():
    names = {file.stem for file in (ROOT / "conf" / "pruner").glob("*.yaml")}
    assert set(re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE)) == names
