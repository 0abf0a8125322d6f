"""Check the command line of a run or a sweep before Hydra composes the config."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from script_exp.config.settings import folder_of
from script_exp.config.words import check_words, parse_words, quoted, with_folders_as_text
from script_exp.errors import UserError, check_name, unknown_key, unknown_name
from script_exp.pruners.contract.budget import check_budget

CONF = (Path(__file__).parents[1] / "conf").resolve()  # in the repository a link to the folder at its top
JOB = "run"  # Hydra's name of a run, which SLURM shows
# With these only Hydra checks.
_OTHER_CONFIG = ("--config-n", "--config-p", "-cn", "-cp", "--shell-completion", "-sc")
_GROUPS = ("model", "benchmark", "pruner", "tracker", "experiment")


def check_arguments(arguments: Sequence[str], config_name: str = "config") -> DictConfig | None:
    """Check early what would otherwise fail in the last cell of a sweep or with a traceback from Hydra.

    Hydra has to be able to read every word, every ``group=name`` has to name a file in ``conf/group``, every
    key has to exist, every budget has to be valid, ``outputs`` has to be writable, and the launcher has to be
    installed.

    Args:
        arguments: the command line, without the program.
        config_name: name of the config in ``conf`` that they override.

    Returns:
        the composed config with Hydra's own settings; of a sweep, with the first of several values. None if
        there is an error that Hydra itself reports, or a setting of Hydra or an option that it has to read.

    Raises:
        UserError: for the first argument that is wrong.
    """
    words = parse_words(with_folders_as_text(arguments))
    check_words(words.overrides)
    try:
        parsed = OverridesParser.create().parse_overrides(words.overrides)
        given = [(_key(override), _values(override)) for override in parsed]
    except HydraException:
        return None  # Hydra itself reports syntax errors
    except ValueError as error:  # Python's limit, far beyond that of any setting
        raise UserError(f"a number has too many digits ({error})") from error
    is_sweep = not {"-m", "--multirun"}.isdisjoint(arguments)  # a single run may be finished and only read
    if words.config_dir is not None and not Path(words.config_dir).is_dir():
        raise UserError(f"--config-dir {words.config_dir}: expected a folder with configs")
    search_path = _search_path(parsed)
    if words.config_dir is not None:
        search_path.append(f"file://{Path(words.config_dir).absolute()}")
    folders = [CONF, *(Path(place.removeprefix("file://")) for place in search_path)]
    for key, values in given:
        group = key.partition("@")[0]  # pruner@pruner.inside: a part of a method that is composed
        if group in _GROUPS:
            known = {file.stem for conf in folders for file in (conf / group).glob("*.yaml")}
            for value in values:
                if value not in known:
                    raise unknown_name(group, value, known)
        elif key == "hydra/launcher":
            own = any(value == "local_processes" or value.startswith("slurm") for value in values)
            if own and find_spec("submitit") is None:
                raise UserError(
                    f"hydra/launcher={values[0]}: the package hydra-submitit-launcher is not installed; "
                    "pip install -e '.[slurm]'"
                )
        elif key == "budget":
            for value in values:
                check_budget(yaml.safe_load(value))
        elif key == "outputs" and is_sweep:
            for value in values:
                _check_writable(Path(value))
        elif key == "hydra.sweep.dir":
            for value in values:
                check_name("the last folder of hydra.sweep.dir", Path(value.strip("'\"")).name)
    if any(word.startswith(_OTHER_CONFIG) for word in arguments):
        return None
    config = _check_keys(parsed, config_name, search_path)
    if config is None:
        return None
    outputs = folder_of("outputs", config.outputs)
    if is_sweep or not outputs.is_dir():
        _check_writable(outputs)
    others = [word for word in arguments if word not in (*words.overrides, "-m", "--multirun")]
    hydras = any(key.startswith("hydra") for key, _ in given)
    ambiguous = not is_sweep and any(override.is_sweep_override() for override in parsed)
    return None if others or hydras or ambiguous else config


def take_choices(arguments: Sequence[str], keys: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Take the overrides of some keys out of checked ``arguments``; values may be comma-separated.

    Returns:
        the other arguments, and the values of each given key.
    """
    rest, choices = [], {}
    for word in arguments:
        if _is_override(word) and word.split("=")[0] in keys:
            (override,) = OverridesParser.create().parse_overrides([word])
            choices[override.key_or_group] = _values(override)
        else:
            rest.append(word)
    return rest, choices


def with_groups_keys(arguments: Sequence[str]) -> list[str]:
    """Put ``++`` before keys of groups in checked ``arguments``, so that a sweep over groups accepts them.

    Before the cells, Hydra composes the sweep once with the default of each group. Without ``++`` it refuses
    ``benchmark.protocol=lmms`` with ``benchmark=gqa,pope``, because the default benchmark has no such key.
    """
    arguments = with_folders_as_text(arguments)
    if any(word.startswith(_OTHER_CONFIG) for word in arguments):
        return arguments
    return [f"++{word}" if word.partition(".")[0] in _GROUPS else word for word in arguments]


def _check_keys(
    overrides: Sequence[Override], config_name: str, search_path: Sequence[str]
) -> DictConfig | None:
    """Compose the config with the first value of every key, and with all values of groups whose keys are set.

    Returns:
        the last config; None if it has an error that Hydra itself reports.
    """
    groups: dict[str, list[str]] = {}
    others = []
    if search_path:
        others.append(f"hydra.searchpath=[{','.join(map(quoted, search_path))}]")
    for override in overrides:
        key, line = _key(override), str(override.input_line)
        if key.startswith("hydra"):
            continue  # the launcher's keys, which compose() does not know
        values = _values(override)
        if key in _GROUPS:
            groups[key] = values
        elif not override.is_sweep_override():
            others.append(line)
        elif values:
            others.append(f"{line.partition('=')[0]}={values[0]}")
    keyed = [group for group in _GROUPS if any(line.startswith(f"{group}.") for line in others)]
    chosen: list[str] = []
    try:
        with initialize_config_dir(str(CONF), version_base="1.3", job_name=JOB):
            if keyed and "experiment" in groups:
                groups = _of_experiment(config_name, groups["experiment"][0]) | groups
            for chosen in _choices(groups, keyed):
                config = compose(config_name, [*chosen, *others], return_hydra_config=True)
                folder_of("outputs", config.outputs)
    except HydraException as error:
        cause = error.__cause__
        if not isinstance(cause, ConfigAttributeError | ConfigKeyError) or cause.full_key is None:
            return None  # Hydra itself reports it
        given = {_key(override): ",".join(_values(override)) for override in overrides}
        beside = cause.parent_node
        known = [str(key) for key in beside] if isinstance(beside, DictConfig) else []
        known = [key for key in known if key not in ("_target_", "hydra")]
        typed = next((key for key in given if f"{key}.".startswith(f"{cause.full_key}.")), cause.full_key)
        owner = next((one for one in chosen if typed.startswith(f"{one.partition('=')[0]}.")), "")
        raise unknown_key(typed, given.get(typed, ""), known, owner) from error
    except OmegaConfBaseException as error:  # such as an environment variable that is not set
        raise UserError(f"outputs: {str(error).splitlines()[0]}") from error
    return config


def _choices(groups: dict[str, list[str]], keyed: Sequence[str]) -> Iterator[list[str]]:
    """Yield the first name of every group; then, in turn, the other names of each group in ``keyed``."""
    first = {group: names[0] for group, names in groups.items() if names}
    yield [f"{group}={name}" for group, name in first.items()]
    for turn in keyed:
        for other in groups.get(turn, [])[1:]:
            yield [f"{group}={other if group == turn else name}" for group, name in first.items()]


def _of_experiment(config_name: str, name: str) -> dict[str, list[str]]:
    """Return the groups that an experiment sweeps over, with their names."""
    config = compose(config_name, [f"experiment={name}"], return_hydra_config=True)
    swept = config.hydra.sweeper.params or {}
    return {
        group: [one.strip() for one in str(swept[group]).split(",")] for group in _GROUPS if group in swept
    }


def _is_override(word: str) -> bool:
    return "=" in word and not word.startswith("-")


def _key(override: Override) -> str:
    """Return the key or group as it was typed, with the place that a group's choice is for."""
    key = str(override.key_or_group)
    return key if override.package is None else f"{key}@{override.package}"


def _values(override: Override) -> list[str]:
    """Return the value, or all values of a sweep, as text."""
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    return [override.get_value_element_as_str()]


def _search_path(overrides: Sequence[Override]) -> list[str]:
    """Return the folders of the user's own configs."""
    for override in overrides:
        places = override.value()
        if override.key_or_group == "hydra.searchpath" and isinstance(places, list):
            return [str(place) for place in places]
    return []


def _check_writable(folder: Path) -> None:
    existing = next(path for path in [folder, *folder.absolute().parents] if path.exists())
    try:
        tempfile.TemporaryDirectory(dir=existing).cleanup()
    except OSError as error:
        raise UserError(
            f"outputs={folder}: {existing} is not writable; expected a writable folder"
        ) from error
