"""The steps of CONTRIBUTING.md, done: the method printed there, its config, a run through the runner."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IMPORTS = """
from dataclasses import dataclass

from torch import Tensor

from script_exp.pruners import Query, ScorePruner, VisualTokens
"""


def test_a_new_method_runs_after_adding_one_file_and_one_config(tmp_path):
    code = re.search(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL).group(1)
    (tmp_path / "norm_pruner.py").write_text(IMPORTS + "\n" + re.sub(r"^ {3}", "", code, flags=re.MULTILINE))
    config = tmp_path / "conf" / "pruner"
    config.mkdir(parents=True)
    (config / "norm.yaml").write_text("_target_: norm_pruner.Norm\nname: norm\np: 2.0\n")
    process = subprocess.run(
        [
            sys.executable, ROOT / "runners" / "run.py", "pruner=norm", "pruner.p=3", "budget=31", "limit=4",
            "latency=off", "unpruned=off", f"outputs={tmp_path / 'outputs'}",
            f"hydra.searchpath=[file://{tmp_path / 'conf'}]",
        ],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    result = json.loads(
        (Path(json.loads(process.stdout.splitlines()[-1])["run_dir"]) / "result.json").read_text()
    )
    assert result["tokens"]["kept"] == 31
    assert result["cell"]["variant"] == "p=3"
