"""Complete the overrides of a run in the shell, with what Hydra knows of ``conf/``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from hydra import initialize_config_dir
from hydra._internal.utils import get_args_parser  # of hydra-core 1.3.8, as in config/words.py
from hydra.core.global_hydra import GlobalHydra
from hydra.plugins.completion_plugin import DefaultCompletionPlugin

from script_exp.config.command_line import CONF
from script_exp.terminal.called import PROGRAM, is_called_by_name


def names_in_help(arguments: Sequence[str]) -> list[str]:
    """Return the overrides that make ``--help`` name the commands as this process was called."""
    if not is_called_by_name() or {"--help", "-h"}.isdisjoint(arguments):
        return []
    return [f"hydra.help.app_name='{sys.argv[0]}'", f"hydra.help.footer='{PROGRAM} make'"]


def overrides_parser(config_name: str) -> argparse.ArgumentParser:
    """Return Hydra's parser, whose words are completed from the config ``config_name``."""

    def complete(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
        line = " ".join([*(parsed_args.overrides or []), prefix])
        with initialize_config_dir(str(CONF), version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()
            return DefaultCompletionPlugin(loader)._query(config_name, line)

    parser = get_args_parser()
    actions = {action.dest: action for action in parser._actions}
    actions["overrides"].completer = complete  # type: ignore[attr-defined]  # argcomplete looks for it
    actions["shell_completion"].help = argparse.SUPPRESS  # Hydra's own completion, whose help is no text
    return parser
