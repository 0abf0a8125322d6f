"""Measure the tables of docs/speed.md but that of lmms-eval; without a GPU, the small versions of them.

python benchmarks_speed/all.py [--device cuda] [--results folder]
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import attention_row
import evaluation
import methods
import schedules
import selection
import tower
from report import command_line

_ROOT = Path(__file__).parents[1]
_BUDGETS = "budget=64,32"
_METHODS = {  # by model.compile; FastV acts between layers that are compiled together
    "off": "pruner=script,query,graph,fastv",
    "default": "pruner=script,query,graph",
    "reduce-overhead": "pruner=script,query,graph",
}
# 2,880 visual tokens (five crops) and about 60 text tokens (a prompt without Vicuna's long preamble)
_GOAL = [
    "model=llava_next_7b",
    "model.weights=random",
    "model.conversation=chat_template",
    "bench.image_size=[672,672]",
    "bench.repeats=10",
]


def prefill(device: str, compiled: str, results: Path) -> None:
    """Run ``runners/bench.py`` at LLaVA-NeXT-7B's size on a GPU, with the embedded model on a CPU."""
    model = _GOAL if device == "cuda" else ["model=tiny"]
    with tempfile.TemporaryDirectory() as outputs:
        command = [sys.executable, str(_ROOT / "runners/bench.py"), *model, _METHODS[compiled], _BUDGETS]
        command += [f"model.compile={compiled}", f"device={device}", f"outputs={outputs}"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        print(done.stdout)
        written = json.loads(done.stdout.splitlines()[-1])
        shutil.copy(written["bench"], results / f"prefill-{compiled}-{device}.json")
        shutil.copy(written["figure"], results / f"prefill-{compiled}-{device}.png")


def main() -> None:
    given = command_line(__doc__, None, repeats=30)
    selection.main(sys.argv[1:])
    methods.main(sys.argv[1:])
    attention_row.main(sys.argv[1:])
    schedules.main(sys.argv[1:])
    tower.main(sys.argv[1:])
    evaluation.main(sys.argv[1:])
    device = given.clock.device.type
    for compiled in _METHODS if device == "cuda" else ("off", "default"):  # a CPU has no CUDA graphs
        prefill(device, compiled, given.results)


if __name__ == "__main__":
    main()
