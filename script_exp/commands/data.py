"""Check that the benchmarks' data is present, complete and readable, or get it from the hub.

python runners/data.py status                                    # all benchmarks in the folder data/
python runners/data.py status pope mme data=playground/data/eval # two of them, in another folder
python runners/data.py status textvqa --deep                     # load every image
python runners/data.py fetch pope gqa data=/data/eval            # get them from the hub, show their status
python runners/data.py fetch --model llava_1_5_7b                # a checkpoint, into the hub's cache

Exit code: 0 if all data is complete, 1 if something is missing, 2 for a mistake in the command.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from script_exp.errors import SettingError, UserError
from script_exp.terminal.entry import new_parser, run_command
from script_exp.upkeep.data_status import check_data, file_benchmarks
from script_exp.upkeep.report import print_data


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(_run, parser().parse_intermixed_args(arguments))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = new_parser(__doc__)
    made.add_argument(
        "command",
        choices=["status", "fetch"],
        help="show what is present and missing, or get it from the hub",
    )
    made.add_argument(
        "words", nargs="*", metavar="benchmark | data=FOLDER",
        help="names of files in conf/benchmark (status: all), and the folder with one folder per benchmark",
    )  # fmt: skip
    made.add_argument("--deep", action="store_true", help="load every image or video, in parallel")
    made.add_argument("--model", metavar="NAME", help="fetch the checkpoint of this file in conf/model")
    return made


def _run(given: argparse.Namespace) -> int:
    names, data = _split(given.words)
    if given.command == "fetch":
        _fetch(names, data, given.model)
        if not names:
            return 0
    elif given.model is not None:
        raise SettingError("--model", given.model, "it with fetch; a run checks its model itself")
    statuses = [check_data(one, deep=given.deep) for one in file_benchmarks(names, data)]
    print_data(statuses)
    return 0 if all(status.is_complete for status in statuses) else 1


def _fetch(names: Sequence[str], data: str | None, model: str | None) -> None:
    """Get the data of benchmarks and the checkpoint of a model; say first what that takes."""
    if not names and model is None:
        raise UserError("fetch: expected names of benchmarks, or --model NAME")
    from script_exp.config.model_config import model_config
    from script_exp.upkeep import fetch  # imported late: status does not need the hub
    from script_exp.upkeep.hub import allow_network

    allow_network()
    wanted = [fetch.fetch_benchmark(one) for one in (file_benchmarks(names, data) if names else ())]
    wanted += [] if model is None else fetch.fetch_model(model, model_config(model))
    print("\n".join(one.describe() for one in wanted), flush=True)
    fetch.check_all(wanted)
    for one in wanted:
        one.run()
        print(f"{one.name}: {one.offer.repository.page} is in {one.place}", flush=True)


def _split(words: Sequence[str]) -> tuple[list[str], str | None]:
    """Split the words into benchmark names and the data folder."""
    data = None
    for key, _, value in (word.partition("=") for word in words if "=" in word):
        if key != "data" or not value:
            raise SettingError(key, value, "data=FOLDER, or the name of a benchmark")
        data = value
    return [word for word in words if "=" not in word], data
