"""Checks of the command line that come before Hydra composes the config."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from script_exp.errors import unknown_name

CONF = Path(__file__).resolve().parents[1] / "conf"
_GROUPS = ("model", "benchmark", "pruner", "tracker", "experiment")


def check_names(arguments: Sequence[str]) -> None:
    """Check that every ``group=name`` names a file in ``conf/group``; sweeps over names too.

    Raises:
        SettingError: for the first unknown name, with the nearest ones.
    """
    overrides = [argument for argument in arguments if "=" in argument and not argument.startswith("-")]
    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
    except HydraException:
        return  # Hydra itself says what is wrong with the syntax
    folders = [CONF]
    for override in parsed:
        places = override.value()
        if override.key_or_group == "hydra.searchpath" and isinstance(places, list):  # a user's own configs
            folders += [Path(str(place).removeprefix("file://")) for place in places]
    for override in parsed:
        if override.key_or_group not in _GROUPS:
            continue
        known = {file.stem for conf in folders for file in (conf / override.key_or_group).glob("*.yaml")}
        values = override.sweep_string_iterator() if override.is_sweep_override() else [override.value()]
        for value in values:
            if value is not None and str(value) not in known:
                raise unknown_name(override.key_or_group, str(value), known)
