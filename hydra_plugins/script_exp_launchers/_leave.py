"""How a launcher ends the command for a mistake of the user."""

from __future__ import annotations

from typing import NoReturn

from script_exp.errors import UserError


def leave(why: UserError | str) -> NoReturn:
    """Exit with one sentence instead of Hydra's traceback."""
    from script_exp.terminal.entry import fail  # imported late: Hydra imports this file at every start

    raise SystemExit(fail(why))
