"""Turn signals that end the process into exceptions, so that the run records them and can resume."""

from __future__ import annotations

import signal
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGUSR2)  # sent by SLURM: on scancel, and before a time-out


class Terminated(SystemExit):
    """A signal asked the process to end; the exit code is 128 + its number, as in a shell."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self._name = signal.Signals(number).name

    def __str__(self) -> str:
        return self._name


def end_on_signals() -> None:
    """Raise :class:`Terminated` on SIGTERM and SIGUSR2, unless they are handled already (submitit does)."""
    for number in _SIGNALS:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    raise Terminated(number)
