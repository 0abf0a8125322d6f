"""End the process at an error: lmms-eval 0.7.3 would go on with an empty answer, or end with exit code 0."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from script_exp.errors import UserError
from script_exp.terminal.entry import fail


@contextmanager
def loud() -> Iterator[None]:
    """End the process with 2 and a sentence if the user can mend the error, else with 1 and a traceback.

    ``SystemExit`` is no ``Exception``, so lmms-eval passes it on.
    """
    try:
        yield
    except UserError as error:
        sys.exit(fail(error))
    except Exception:
        traceback.print_exc()
        sys.exit(1)
