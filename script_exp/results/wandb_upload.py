"""Upload a W&B log while its run writes it, in a process of its own, so that no server delays or fails a run.

``python -m script_exp.results.wandb_upload LOG`` is that process. It runs ``wandb beta sync --live``, which
alone would wait forever for a run that died without finishing its log, and ends it some time after the run.
"""

from __future__ import annotations

import os
import re
import select
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from script_exp.results.files import check_is_file

# Seconds that the upload continues after the run finished its log, and after it died.
_AFTER_END_S, _AFTER_DEATH_S = 60, 10
_FINISHED = b"."
_OF_THE_RUN = ("WANDB_SERVICE", "WANDB_MODE")


class Upload:
    """The process that uploads one log.

    Args:
        log: folder of the log, in the folder ``wandb`` of a run directory. The output goes to ``sync.log``
            beside it.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        # With the run's own service, which ends with the run, the upload would end early.
        environment = {key: value for key, value in os.environ.items() if key not in _OF_THE_RUN}
        environment["WANDB_DIR"] = str(log.parent.parent.resolve())  # for W&B's log of the upload
        check_is_file(output_file(log))  # to open a pipe would wait for its reader
        with output_file(log).open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(log.resolve())],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=environment,
            )

    def finish(self, seconds: float) -> None:
        """Wait for the end of the upload of a finished log, for at most ``seconds``; then let it continue."""
        self._close(_FINISHED)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def abandon(self) -> None:
        """Let the upload end, although the log is not finished."""
        self._close(b"")

    def _close(self, last: bytes) -> None:
        if self._process.stdin is not None:
            with suppress(OSError):  # the process has ended
                self._process.stdin.write(last)
                self._process.stdin.close()


def is_sent(log: Path) -> bool:
    """Return whether the server has all of a log."""
    return any(log.glob("*.wandb.synced"))


def sent_to(log: Path) -> str:
    """Return the URL of an uploaded run; if W&B did not print one, where the upload's output is."""
    output = output_file(log)
    text = output.read_text(encoding="utf-8", errors="replace") if output.is_file() else ""
    found = re.findall(r"View run .* at (https?://[^\s\x1b]+)", text)
    return found[-1] if found else f"sent, see {output}"


def sync_command(*logs: Path) -> str:
    """Return the command that uploads logs, quoted for a shell."""
    return shlex.join(["wandb", "sync", *(str(log.resolve()) for log in logs)])


def output_file(log: Path) -> Path:
    """Return the file that the output of all uploads of a run goes to."""
    return log.with_name("sync.log")


def _upload(log: Path) -> None:
    """Upload a log until all is sent, or until some time after stdin is closed by the run or its death.

    The logs of a run are uploaded in their order, or what a killed process logged, sent late, would replace
    the summary of the finished run. A log holds all that the earlier ones do, so these need not be sent.
    """
    with suppress(Timeout), FileLock(log.with_name(".sync.lock"), timeout=2 * _AFTER_END_S):
        later = (other for other in log.parent.glob("offline-run-*") if other.name > log.name)
        if is_sent(log) or any(map(is_sent, later)):
            return
        sync = subprocess.Popen(
            [sys.executable, "-P", "-m", "wandb", "beta", "sync", "--live", str(log)],
            stdin=subprocess.DEVNULL,
        )
        while sync.poll() is None:
            if select.select([sys.stdin], [], [], 0.1)[0]:
                finished = os.read(sys.stdin.fileno(), 1) == _FINISHED
                with suppress(subprocess.TimeoutExpired):
                    sync.wait(_AFTER_END_S if finished else _AFTER_DEATH_S)
                sync.kill()
                sync.wait()


if __name__ == "__main__":
    _upload(Path(sys.argv[1]))
