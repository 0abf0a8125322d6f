"""Ctrl-C while a command imports its modules: one line, no traceback. Every command imports this first.

Nothing has to be cleaned up so early. ``entry.can_be_interrupted`` brings ``KeyboardInterrupt`` back.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, b"interrupted\n")
    os._exit(128 + number)


if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as under nohup
    signal.signal(signal.SIGINT, _leave)
