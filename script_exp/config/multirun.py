"""List the cells of a multirun in the order of Hydra's basic sweeper, and compose the config of each."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import product
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict


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


def compose_each(
    cells: Sequence[Sequence[str]], compose: Callable[[list[str]], DictConfig]
) -> Iterator[DictConfig]:
    """Yield the config of each cell. As for :func:`expand`, Hydra has to be initialized.

    Hydra needs a tenth of a second per config. So cells that differ only in values, such as the budget, are
    composed once, and the values are set in copies, as Hydra itself sets them at the end.

    Args:
        cells: the overrides of each cell, from :func:`expand`.
        compose: returns Hydra's config for a list of overrides.
    """
    bases: dict[tuple[str, ...], DictConfig] = {}
    for cell in cells:
        parsed = {word: _parsed(word) for word in cell}
        others = tuple(word for word in cell if not _sets_a_value(parsed[word]))
        if others not in bases:
            bases[others] = compose(list(others))
        values = [override for word, override in parsed.items() if word not in others]
        if all(_has(bases[others], one.key_or_group) for one in values):
            yield _with_values(bases[others], values)
        else:  # for example a key that is not there, which Hydra reports
            yield compose(list(cell))


@cache
def _parsed(word: str) -> Override:
    return OverridesParser.create().parse_override(word)


def _sets_a_value(override: Override) -> bool:
    """Return whether ``key=value`` or ``++key=value`` sets a value that is not a dictionary."""
    key = override.key_or_group
    if override.package is not None or key.split(".")[0] == "hydra" or _is_group(key):
        return False
    is_set = not (override.is_delete() or (override.is_add() and not override.is_force_add()))
    return is_set and not isinstance(override.value(), dict)


@cache
def _is_group(key: str) -> bool:
    return "/" in key or bool(GlobalHydra.instance().config_loader().get_group_options(key))


def _has(config: DictConfig, key: str) -> bool:
    """Return whether ``config`` has a value, rather than a group, at the dotted ``key``."""
    place, _, name = key.rpartition(".")
    parent = OmegaConf.select(config, place) if place else config
    return isinstance(parent, DictConfig) and name in parent and not OmegaConf.is_dict(parent[name])


def _with_values(base: DictConfig, values: Sequence[Override]) -> DictConfig:
    config = copy.deepcopy(base)
    with open_dict(config):
        for override in values:
            OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
    return config
