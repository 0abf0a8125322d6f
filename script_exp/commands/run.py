"""Run one cell (model x benchmark x pruner x budget), or a sweep of cells with ``-m``.

python runners/run.py pruner=script budget=64
python runners/run.py -m pruner=none,random,graph,query,script,fastv,trim budget=192,128,64,32
"""

from __future__ import annotations

import argparse
import os
import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from script_exp.commands.overrides import names_in_help, overrides_parser
from script_exp.config.command_line import CONF, check_arguments, with_groups_keys
from script_exp.config.launch import run_composed, run_sweep
from script_exp.config.settings import RunSettings
from script_exp.config.words import parse_words
from script_exp.errors import UserError
from script_exp.sweeps.job import SweepJob
from script_exp.sweeps.plan import current_sweep
from script_exp.sweeps.summary import summarize_sweep
from script_exp.terminal.entry import can_be_interrupted, fail, interrupted
from script_exp.terminal.signals import Terminated, end_on_signals


def run(config: DictConfig, job: SweepJob | None) -> None:
    """Run one cell, after the unpruned one if the settings ask for it; ``job`` is its place in a sweep."""
    launch = HydraConfig.get()
    group = launch.runtime.choices.get("experiment") if job is None else job.group
    settings = RunSettings.from_config(config, group)

    from script_exp.cell.finished import read_finished
    from script_exp.cell.prepared import RunCell  # torch is imported from here on
    from script_exp.cell.run import run_cell
    from script_exp.cell.shown import print_config, print_result, print_unmerged
    from script_exp.cell.tracked import log_finished
    from script_exp.results.run_directory import RunIsBusyError, set_aside
    from script_exp.results.wandb_logged import unsent
    from script_exp.terminal.progress import note

    cell = RunCell.prepare(settings)
    if settings.seed != config.seed:
        note(f"seed={config.seed}: pruner={settings.pruner['name']} draws nothing, so seed=0 is the same run")
    if job is not None:
        job.runs_in(cell.directory)
    else:
        print_config(cell.resolved_config())
    requeued = bool(os.environ.get("SLURM_RESTART_COUNT"))  # then it resumes its own run
    if settings.force and not requeued:
        old = set_aside(cell.directory, settings.outputs)
        if old is not None:
            note(f"starting over; the old run is now {old}")
    read_finished(cell)  # a damaged result is an error before anything runs
    unpruned, compared = None, []
    if settings.budget is not None and settings.unpruned != "off":
        baseline = cell.unpruned()
        compared = [baseline.directory]
        alone = settings.unpruned == "auto" and job is None and settings.shards == 1
        is_damaged = False
        try:
            unpruned = read_finished(baseline)
        except UserError as error:
            is_damaged = True
            note(f"continuing without the unpruned run: {error}")
        if not is_damaged and (settings.unpruned == "run" or alone):
            try:
                if unpruned is None:
                    unpruned = run_cell(baseline)
                else:
                    log_finished(baseline, unpruned)
            except RunIsBusyError as error:
                note(f"continuing without the unpruned run: {error}")
    result = run_cell(cell)
    if result is None:
        print_unmerged(cell.directory)
    else:
        # A sweep tells at its end what is not sent.
        left = unsent([*compared, cell.directory]) if job is None and cell.tracker.keeps_logs else []
        print_result(result, unpruned, cell.directory, left, is_compared=settings.unpruned != "off")


def hydra_job(config: DictConfig) -> None:
    """Run one cell where Hydra has made its config current."""
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        with SweepJob.of(HydraConfig.get()) as job:
            run(config, job)
    else:
        try:
            _check_launcher(HydraConfig.get().runtime.choices.get("hydra/launcher"))
            run(config, None)
        except UserError as error:
            sys.exit(fail(error))


def _check_launcher(launcher: str | None) -> None:
    """Raise a :class:`UserError` for a sweep launcher without ``-m``, which Hydra would ignore."""
    if launcher is not None and (launcher == "local_processes" or launcher.startswith("slurm")):
        raise UserError(f"hydra/launcher={launcher}: expected it with -m, even for a single cell")


def launch(config: DictConfig | None, options: list[str], overrides: list[str]) -> None:
    """Let Hydra run a cell or a sweep; a cell from the ``config`` that was composed to check the words."""
    if config is None or config.hydra.mode is not None:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(hydra_job)()
    elif options:  # -m
        run_sweep(hydra_job, overrides)
    else:
        run_composed(hydra_job, config)


def parser() -> argparse.ArgumentParser:
    """Return the parser that completes the command line in the shell."""
    return overrides_parser("config")


def main() -> int:
    """Run the command line and return the exit code, which covers all cells of a sweep."""
    try:
        config = check_arguments(sys.argv[1:])
    except UserError as error:
        return fail(error)
    end_on_signals()
    # Hydra's parser expects all overrides on one side of its options.
    overrides = parse_words(sys.argv[1:]).overrides
    options = [word for word in sys.argv[1:] if word not in overrides]
    overrides = with_groups_keys([*options, *overrides])[len(options) :]
    sys.argv[1:] = [*options, *overrides, *names_in_help(options)]
    code = 0
    try:
        can_be_interrupted()
        launch(config, options, overrides)
    except KeyboardInterrupt:
        code = interrupted("repeat the command to resume")
    except Terminated as end:
        code = interrupted("repeat the command to resume", end)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    sweep = current_sweep()
    if sweep is None:
        return code
    from script_exp.results.wandb_logged import unsent
    from script_exp.sweeps.table import print_results  # torch is imported from here on

    try:
        cells = sweep.cells()
    except UserError as error:
        return fail(error)
    print_results(cells)
    lines, finished = summarize_sweep(sweep.folder, cells)
    run_dirs = [cell.run_dir for cell in cells if cell.state == "finished" and cell.run_dir is not None]
    print(*lines, *unsent(run_dirs, sweep.folder / "wandb.txt"), sep="\n", file=sys.stderr)
    return code or int(not finished)
