"""Start script_exp/commands/power.py, as ``script-exp power`` does."""

from __future__ import annotations

import script_exp.terminal.ctrl_c  # noqa: F401

# isort: split

import sys

from script_exp.commands.power import main
from script_exp.terminal.entry import start

if __name__ == "__main__":
    start()
    sys.exit(main())
