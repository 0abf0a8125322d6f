"""Measure the speed of several pruners and budgets and of the unpruned model, in turn, in one process.

python runners/bench.py pruner=script,fastv budget=64,32
python runners/bench.py model=llava_next_7b model.weights=random bench.image_size=[672,672] budget=64
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from itertools import product

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from script_exp.commands.overrides import names_in_help, overrides_parser
from script_exp.config.command_line import CONF, check_arguments, take_choices
from script_exp.config.settings import RunSettings
from script_exp.errors import UserError
from script_exp.terminal.entry import fail, interruptible


def bench(config: DictConfig, pruners: list[str], budgets: list[str]) -> None:
    """Measure every pruner at every budget."""
    settings: list[RunSettings] = []
    overrides = [word for word in HydraConfig.get().overrides.task if not _is_choice(word)]
    for pruner, budget in product(pruners, budgets):
        words = [*overrides, f"pruner={pruner}", f"budget={budget}"]
        try:
            composed = hydra.compose("bench", words)
        except HydraException as error:
            raise UserError(f"{' '.join(words)}: {str(error).splitlines()[0]}") from error
        one = RunSettings.from_config(composed)
        if one.budget is not None:  # the unpruned model is always measured
            settings.append(one)
    if not settings:
        raise UserError("pruner=none: expected at least one method to compare with the unpruned model")

    from script_exp.cell.prepared import RunCell
    from script_exp.results.files import write_json
    from script_exp.speed.bench import BenchSettings, run_bench  # torch is imported from here on
    from script_exp.speed.report import draw_figure, print_table

    plain = OmegaConf.to_container(config.bench, resolve=True)
    how = BenchSettings.from_config(plain)  # type: ignore[arg-type]
    result = run_bench([RunCell.prepare(one) for one in settings], how)
    folder = (
        settings[0].outputs / "bench" / settings[0].model.name / f"{datetime.now(UTC):%Y-%m-%d_%H-%M-%S-%f}"
    )
    folder.mkdir(parents=True)
    write_json(folder / "bench.json", result)
    draw_figure(result, folder / "bench.png")
    print_table(result)
    print(json.dumps({"bench": str(folder / "bench.json"), "figure": str(folder / "bench.png")}), flush=True)


def _is_choice(word: str) -> bool:
    return word.startswith(("pruner=", "budget="))


def parser() -> argparse.ArgumentParser:
    """Return the parser that completes the command line in the shell."""
    return overrides_parser("bench")


def main() -> int:
    """Check the command line, then compose the config of the first method with Hydra."""
    try:
        check_arguments(sys.argv[1:], "bench")
        if {"-m", "--multirun"} & set(sys.argv):
            raise UserError("-m: expected lists without it, such as pruner=script,fastv")
        rest, choices = take_choices(sys.argv[1:], ("pruner", "budget"))
    except UserError as error:
        sys.exit(fail(error))
    first = [f"{key}={values[0]}" for key, values in choices.items()]
    sys.argv = [sys.argv[0], *rest, *first, *names_in_help(rest)]

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name="bench")
    def composed(config: DictConfig) -> None:
        try:
            bench(config, choices.get("pruner", ["script"]), choices.get("budget", ["64"]))
        except UserError as error:
            sys.exit(fail(error))

    with interruptible():
        composed()
    return 0
