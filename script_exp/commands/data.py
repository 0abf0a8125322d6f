"""Check that the benchmarks' data is present, complete and readable, and show where to get what is missing.

python runners/data.py status                                    # all benchmarks in the folder data/
python runners/data.py status pope mme data=playground/data/eval # two of them, in another folder
python runners/data.py status textvqa --deep                     # load every image

Exit code: 0 if all data is complete, 1 if something is missing, 2 for a mistake in the command.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from script_exp.errors import SettingError
from script_exp.terminal.entry import new_parser, run_command
from script_exp.upkeep.data_status import check_data, file_benchmarks
from script_exp.upkeep.report import print_data


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(_status, parser().parse_intermixed_args(arguments))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = new_parser(__doc__)
    made.add_argument("command", choices=["status"], help="show what is present and what is missing")
    made.add_argument(
        "words", nargs="*", metavar="benchmark | data=FOLDER",
        help="names of files in conf/benchmark (default: all), and the folder with one folder per benchmark",
    )  # fmt: skip
    made.add_argument("--deep", action="store_true", help="load every image or video, in parallel")
    return made


def _status(given: argparse.Namespace) -> int:
    names, data = _split(given.words)
    statuses = [check_data(one, deep=given.deep) for one in file_benchmarks(names, data)]
    print_data(statuses)
    return 0 if all(status.is_complete for status in statuses) else 1


def _split(words: Sequence[str]) -> tuple[list[str], str | None]:
    """Split the words into benchmark names and the data folder."""
    data = None
    for key, _, value in (word.partition("=") for word in words if "=" in word):
        if key != "data" or not value:
            raise SettingError(key, value, "data=FOLDER, or the name of a benchmark")
        data = value
    return [word for word in words if "=" not in word], data
