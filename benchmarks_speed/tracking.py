"""Measure what the default tracker (W&B, offline) adds to a run, side by side: CPU seconds, time, memory.

python benchmarks_speed/tracking.py [rounds]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_CELL = ["pruner=script", "budget=64", "limit=32", "latency=off", "unpruned=off"]
_OFF, _ON = "tracker=none", "tracker.mode=offline"


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    found: dict[str, list[tuple[float, float, float]]] = {}
    for turn in range(rounds):
        for tracker in (_OFF, _ON) if turn % 2 else (_ON, _OFF):
            with tempfile.TemporaryDirectory() as outputs:
                for state in ("new run", "finished run"):
                    found.setdefault(f"{state}, {tracker}", []).append(_measured(tracker, outputs))
    print(f"{'':<40}{'CPU s':>8}{'wall s':>8}{'MiB':>8}   medians of {rounds} rounds in turn")
    for name, values in sorted(found.items()):
        print(f"{name:<40}" + "".join(f"{statistics.median(one):8.2f}" for one in zip(*values, strict=True)))
    for state in ("new run", "finished run"):
        pairs = zip(found[f"{state}, {_ON}"], found[f"{state}, {_OFF}"], strict=True)
        added = zip(*([a - b for a, b in zip(on, off, strict=True)] for on, off in pairs), strict=True)
        print(f"{state + ', added':<40}" + "".join(f"{statistics.median(one):8.2f}" for one in added))


def _measured(tracker: str, outputs: str) -> tuple[float, float, float]:
    """Return CPU seconds with those of W&B's service, seconds, and the peak MiB of the process."""
    command = [sys.executable, str(_ROOT / "runners/run.py"), *_CELL, tracker, f"outputs={outputs}"]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return used.ru_utime + used.ru_stime, time.perf_counter() - start, used.ru_maxrss / 1024


if __name__ == "__main__":
    main()
