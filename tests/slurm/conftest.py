"""A real SLURM of one machine, for the session."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("cluster.sh")


@pytest.fixture(scope="session")
def slurm():
    """Environment of a process that submits to it."""
    if shutil.which("slurmctld", path=os.environ["PATH"] + ":/usr/sbin:/sbin") is None:
        missing = "needs munge, slurmctld, slurmd and slurm-client (Debian)"
        if os.environ.get("SLURM_TESTS") == "required":
            pytest.fail(missing)
        pytest.skip(missing)
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # munged refuses pytest's private folders
    folder.chmod(0o755)
    subprocess.run([SCRIPT, "start", folder], check=True)
    try:
        yield {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    finally:
        subprocess.run([SCRIPT, "stop", folder], check=True)
        shutil.rmtree(folder, ignore_errors=True)
