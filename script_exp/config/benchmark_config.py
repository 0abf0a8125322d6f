"""Read the benchmarks of ``conf/benchmark`` without composing a whole run."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf

from script_exp.config.command_line import CONF
from script_exp.errors import UserError, unknown_name


def benchmark_names() -> list[str]:
    """Return the names of all benchmarks, sorted."""
    return sorted(file.stem for file in (CONF / "benchmark").glob("*.yaml"))


def benchmark_config(name: str, data: str | None = None) -> dict[str, Any]:
    """Return the settings of a benchmark as a run has them.

    Args:
        name: a file of ``conf/benchmark``.
        data: folder with one folder per benchmark; None for the one in ``conf/config.yaml``.

    Raises:
        UserError: if there is no such benchmark.
    """
    file = CONF / "benchmark" / f"{name}.yaml"
    if name not in benchmark_names():
        raise unknown_name("benchmark", name, benchmark_names())
    config = OmegaConf.load(CONF / "config.yaml")
    if data is not None:
        config.data = data
    config.benchmark = OmegaConf.load(file)
    plain = OmegaConf.to_container(config.benchmark, resolve=True)
    if not isinstance(plain, dict):
        raise UserError(f"{file}: expected the benchmark's settings")
    return {str(key): value for key, value in plain.items()}
