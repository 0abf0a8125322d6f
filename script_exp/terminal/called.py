"""How the user calls the commands: by the repository's files, or as ``script-exp``.

Messages name a command by its file, such as ``python runners/run.py``. A process that was started by
``script-exp`` shows the same commands as ``script-exp run``: it may have no repository, or not be in it.
"""

from __future__ import annotations

import re
import sys

PROGRAM = "script-exp"
_FILE = re.compile(r"(?<![\w./-])(?:python )?(?:runners|analysis)/(\w+)\.py\b")


def is_called_by_name() -> bool:
    """Return whether ``script-exp`` started this process (:mod:`script_exp.commands.main`)."""
    return sys.argv[0].startswith(f"{PROGRAM} ")


def as_called(text: str) -> str:
    """Return ``text`` with the commands in it as the user of this process calls them."""
    return _FILE.sub(rf"{PROGRAM} \1", text) if is_called_by_name() else text
