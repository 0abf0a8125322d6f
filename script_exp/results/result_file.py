"""Read the ``result.json`` of a finished run, and check that it is one and that it belongs where it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from script_exp.errors import UserError
from script_exp.results.checked import finite_numbers, problem_of
from script_exp.results.files import read_json
from script_exp.results.record import SCHEMA_VERSION, RunResult
from script_exp.results.run_identity import identity_hash

# Settings of a result's cell that identity.json has under the same name.
_SAME = ("model", "budget", "seed", "limit", "prompt_version")


def read_result(path: Path) -> dict[str, Any]:
    """Read a ``result.json`` as a dictionary.

    Raises:
        FileNotFoundError: if there is none.
        UserError: if it does not parse, is not a result, or has another schema version.
    """
    return check_result(read_json(path), str(path), _remedy(path))


def read_own_result(path: Path) -> dict[str, Any]:
    """Read a ``result.json``, which has to be the result of the settings in the ``identity.json`` beside it.

    Raises:
        FileNotFoundError, UserError: as for :func:`read_result`; and if it is the result of other settings.
    """
    result = read_result(path)
    try:
        identified_by = read_json(path.with_name("identity.json"))
    except FileNotFoundError:  # as in results that were copied alone
        return result
    check_belongs(result, identified_by, path)
    return result


def read_result_of(identity: str, path: Path) -> dict[str, Any] | None:
    """Return the result of the run with this identity; None if there is no file.

    Raises:
        UserError: if the result is damaged, or that of another run.
    """
    try:
        result = read_own_result(path)
    except FileNotFoundError:
        return None
    if result["identity"] != identity:
        raise UserError(
            f"{path} is the result of another run, {result['identity']} instead of {identity}; "
            f"{_remedy(path)}"
        )
    check_measured(result, path)
    return result


def check_belongs(result: Mapping[str, Any], identified_by: Any, path: Path) -> None:
    """Raise a :class:`UserError` if the result at ``path`` is not that of the settings in identity.json."""
    beside = path.with_name("identity.json")
    if not isinstance(identified_by, dict) or identity_hash(identified_by) != result["identity"]:
        raise UserError(
            f"{beside} does not belong to {path.name}, whose identity is {result['identity']}; "
            f"{_remedy(path)}"
        )
    cell = result["cell"]
    pairs = {name: (cell[name], identified_by.get(name, cell[name])) for name in _SAME}
    pairs["protocol_version"] = (
        cell["protocol_version"],
        identified_by.get("protocol", cell["protocol_version"]),
    )
    for group in ("benchmark", "pruner"):
        named = identified_by.get(group)
        pairs[group] = cell[group], named.get("name", cell[group]) if isinstance(named, dict) else cell[group]
    for name, (has, expected) in pairs.items():
        if has != expected:
            raise UserError(
                f"{path} is damaged ({name}={has}, but {expected} in {beside.name}); {_remedy(path)}"
            )


def check_result(result: Any, place: str, remedy: str) -> dict[str, Any]:
    """Return what was read from ``place`` if it is a result of this schema version.

    Raises:
        UserError: if it is not; the message ends with ``remedy``.
    """
    if not isinstance(result, dict) or "schema_version" not in result:
        raise UserError(f"{place} is damaged (not a result); {remedy}")
    if result["schema_version"] != SCHEMA_VERSION:
        raise UserError(
            f"{place} has schema version {result['schema_version']}; expected {SCHEMA_VERSION}; {remedy}"
        )
    problem = problem_of(result, RunResult)
    if problem is None and result["status"] != "finished":
        problem = f"status={result['status']}: expected finished"
    if problem is None and not (result["provenance"] and "weights" in result["provenance"][-1]):
        problem = "provenance: it does not name the weights"
    if problem is not None:
        raise UserError(f"{place} is damaged ({problem}); {remedy}")
    return result


def check_measured(result: Mapping[str, Any], path: Path) -> None:
    """Raise a :class:`UserError` unless FLOPs and latency in the result at ``path`` can be shown."""
    problem = finite_numbers(result["flops"], "prefill_total", "llm_visual_only")
    latency = result["latency"]
    if problem is None and latency is not None:
        problem = finite_numbers(latency, "llm_prefill_speedup", "ttft_speedup")
        for times in (latency, latency.get("unpruned")):
            problem = problem or finite_numbers(times, "llm_prefill_ms", "ttft_ms")
    if problem is not None:
        raise UserError(f"{path} is damaged ({problem}); {_remedy(path)}")


def _remedy(path: Path) -> str:
    return f"remove the folder {path.parent} to run this cell again"
