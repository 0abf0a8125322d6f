"""List the cells of a multirun in the order and with the numbers of Hydra's basic sweeper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser


def expand(params: Mapping[str, Any] | None, arguments: Sequence[str]) -> list[list[str]]:
    """Return the overrides of each cell. Hydra has to be initialized: globs match its config groups.

    Args:
        params: ``hydra.sweeper.params``; an argument with the same key takes precedence.
        arguments: overrides on the command line, without those of ``hydra`` itself.

    Raises:
        HydraException: if an override does not parse, or a sweep cannot be listed (``interval``).
    """
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    given = [*(f"{key}={value}" for key, value in (params or {}).items()), *arguments]
    choices: dict[str, list[str]] = {}
    for override in parser.parse_overrides(given):
        swept = override.is_sweep_override()
        values = override.sweep_string_iterator() if swept else [override.get_value_element_as_str()]
        key = override.get_key_element()
        choices[key] = [f"{key}={value}" for value in values]
    return [list(cell) for cell in product(*choices.values())]
