"""Logs of one run are uploaded in their order, whichever process is first."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from filelock import FileLock

from script_exp.results import wandb_upload


@pytest.fixture
def started(monkeypatch):
    """Names of the logs whose upload was started, in their order."""
    names = []

    def start(words, **_):
        names.append(words[-1].rpartition("/")[2])
        return SimpleNamespace(poll=lambda: 0)

    monkeypatch.setattr(wandb_upload.subprocess, "Popen", start)
    return names


@pytest.fixture
def logs(tmp_path):
    """A killed run's log, and that of the run that went on."""
    folders = [tmp_path / "wandb" / f"offline-run-20260101_00000{second}-id" for second in (1, 2)]
    for folder in folders:
        folder.mkdir(parents=True)
    return folders


def test_a_log_waits_for_the_other_one_of_its_run(logs, started, monkeypatch):
    killed, finished = logs
    monkeypatch.setattr(wandb_upload, "_AFTER_END_S", 0)
    with FileLock(killed.parent / ".sync.lock"):
        wandb_upload._upload(finished)
    assert started == []
    for log in logs:
        wandb_upload._upload(log)
    assert started == [killed.name, finished.name]


def test_an_earlier_log_is_not_sent_after_a_later_one(logs, started):
    killed, finished = logs
    (finished / "run-id.wandb.synced").touch()
    wandb_upload._upload(killed)
    assert started == []
    wandb_upload._upload(finished)
    assert started == []
