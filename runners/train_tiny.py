"""Start script_exp/commands/train_tiny.py, as ``script-exp train_tiny`` does."""

from __future__ import annotations

import script_exp.terminal.ctrl_c  # noqa: F401

# isort: split

import sys

from script_exp.terminal.entry import start

if __name__ == "__main__":
    start()
    from script_exp.commands.train_tiny import main  # imports torch, so after start()

    sys.exit(main())
