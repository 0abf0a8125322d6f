"""Start script_exp/commands/evidence.py, as ``script-exp evidence`` does."""

from __future__ import annotations

import script_exp.terminal.ctrl_c  # noqa: F401

# isort: split

import sys

from script_exp.commands.evidence import main
from script_exp.terminal.entry import start

if __name__ == "__main__":
    start()
    sys.exit(main())
