"""Options and output of all micro-benchmarks here: ratios of times measured in one process."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from script_exp.measure.clock import Clock, Spread
from script_exp.results.code_version import git_state
from script_exp.results.files import write_atomically, write_json
from script_exp.results.provenance import device_name
from script_exp.terminal.entry import new_parser

RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("torch", "triton", "numpy", "transformers")


def circumstances(device: torch.device) -> dict[str, Any]:
    """Return the device, versions, date, and how busy the machine is."""
    installed = {name.lower() for one in metadata.distributions() if (name := one.metadata["Name"])}
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device_name(device),
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "threads": torch.get_num_threads() if device.type == "cpu" else None,
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in _PACKAGES if name in installed},
        "git": git_state(),
    }


@dataclass(frozen=True)
class Given:
    """The command line.

    Attributes:
        clock: clock of the device; on a CPU, wall time or processor time.
        warm_up: number of rounds that are not counted.
        repeats: number of counted rounds.
        results: folder of the JSON files.
        clock_name: ``wall``, ``processor`` or ``cuda events``.
    """

    clock: Clock
    warm_up: int
    repeats: int
    results: Path
    clock_name: str


def command_line(description: str | None, arguments: list[str] | None, repeats: int) -> Given:
    """Parse the options of every benchmark; ``repeats`` is the default of ``--repeats``."""
    parser = new_parser(description)
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda"
    )
    parser.add_argument("--warm-up", type=int, default=3, help="rounds that are not counted")
    parser.add_argument("--repeats", type=int, default=repeats, help="counted rounds")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON files")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="on a busy CPU: measure processor time instead of wall time, with one thread",
    )
    given = parser.parse_args(arguments)
    device = torch.device(given.device)
    name = "cuda events" if device.type == "cuda" else "processor" if given.processor_time else "wall"
    if given.processor_time:
        torch.set_num_threads(1)
    clock = Clock(device, time.process_time_ns if given.processor_time else time.perf_counter_ns)
    return Given(clock, given.warm_up, given.repeats, given.results, name)


def compared(times: Mapping[str, Spread], ours: str) -> dict[str, Any]:
    """Return times with quartiles in ms, and how many times as long as ``ours`` the others took."""
    fastest = times[ours].median
    return {
        "ms": {name: asdict(spread) for name, spread in times.items()},
        "times_ours": {name: spread.median / fastest for name, spread in times.items() if name != ours},
    }


def print_cases(title: str, cases: list[dict[str, Any]], ours: str) -> None:
    """Print one line per case and call."""
    table = Table(title=title)
    for header in ("case", "", "ms", "quartiles", f"times {ours}"):
        table.add_column(header, justify="left" if header in ("case", "") else "right", no_wrap=True)
    for case in cases:
        for name, spread in case["ms"].items():
            ratio = case["times_ours"].get(name)
            quartiles = f"{spread['q1']:.3f} to {spread['q3']:.3f}"
            table.add_row(
                case["case"] if name == ours else "",
                name,
                f"{spread['median']:.3f}",
                quartiles,
                "" if ratio is None else f"{ratio:.3g}",
            )
    Console(width=130).print(table)


def write_report(name: str, given: Given, contents: dict[str, Any]) -> None:
    """Write ``<name>-<cpu or cuda>.json``: the results, and how they were measured."""
    given.results.mkdir(parents=True, exist_ok=True)
    device = given.clock.device
    path = given.results / f"{name}-{device.type}.json"
    how = {"clock": given.clock_name, "warm_up": given.warm_up, "repeats": given.repeats}
    write_json(path, {"circumstances": circumstances(device), **how, **contents})
    print(f"written: {path}")


def write_table(name: str, given: Given, table: str) -> None:
    """Write ``<name>-<cpu or cuda>.md``, a table of docs/speed.md, beside the results, and print it."""
    path = given.results / f"{name}-{given.clock.device.type}.md"
    write_atomically(path, table)
    print(f"written: {path}\n\n{table}")
