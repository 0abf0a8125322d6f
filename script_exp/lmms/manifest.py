"""Tell lmms-eval which model this package brings; the entry point ``lmms_eval.models`` in pyproject.toml."""

from __future__ import annotations

from typing import Any


def manifests() -> list[Any]:
    """Return what ``lmms-eval --model`` may name; called by lmms-eval alone, and without importing torch."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return [ModelManifest("script_exp", simple_class_path="script_exp.lmms.model.ScriptExp")]
