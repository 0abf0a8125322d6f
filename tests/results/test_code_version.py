"""What of a checkout counts as uncommitted changes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from script_exp.results import code_version


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with a module of the package, a config and a document."""
    module = tmp_path / "script_exp/results/code_version.py"
    for file in (module, tmp_path / "conf/config.yaml", tmp_path / "docs/guide.md"):
        file.parent.mkdir(parents=True)
        file.touch()
    shutil.copy(Path(code_version.__file__), module)
    (tmp_path / ".gitignore").write_text("__pycache__/\n")
    for command in (
        ["init"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=b", "commit", "-m", "one"],
    ):
        subprocess.run(["git", "-C", tmp_path, *command], check=True, capture_output=True)
    monkeypatch.setattr(code_version, "__file__", str(module))
    return tmp_path


def test_only_what_can_change_a_number_counts(checkout):
    outputs = ["outputs_old/tiny/shapes/none-s0-1/result.json", "outputs_old/.hydra/config.yaml", "plot.py"]
    outputs += ["benchmarks_speed/results/cpu.json", "script_exp/__pycache__/code.pyc", "docs/guide.md"]
    for name in outputs:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("new")
    state = code_version.git_state()
    assert len(state["commit"]) == 40
    assert not state["dirty"]
    for name in ("conf/config.yaml", "conf/model/mine.yaml", "script_exp/new/method.py", "pyproject.toml"):
        file = checkout / name
        before = file.read_text() if file.exists() else None
        file.parent.mkdir(exist_ok=True)
        file.write_text("new")
        assert code_version.git_state() == state | {"dirty": True}, name
        file.unlink() if before is None else file.write_text(before)
        assert code_version.git_state() == state, name


def test_another_repository_around_the_package(checkout):
    subprocess.run(
        ["git", "-C", checkout, "rm", "-r", "--cached", "script_exp"], check=True, capture_output=True
    )
    assert code_version.git_state() is None
