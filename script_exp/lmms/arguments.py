"""The arguments of ``lmms-eval --model script_exp``, as settings of a run without a benchmark."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

import yaml
from hydra import compose, initialize_config_dir

from script_exp.config.command_line import CONF, check_arguments, with_groups_keys
from script_exp.config.settings import RunSettings
from script_exp.config.words import quoted
from script_exp.errors import SettingError, check_choice, unknown_key

QUESTIONS = ("bare", "prompt")
MODALITIES = ("image", "video")

# Settings of a run that lmms-eval's arguments may hold; of groups, with all of their keys.
_GROUPS = ("model", "pruner")
_SETTINGS = ("budget", "seed", "device", "dtype", "attention", "batch_size", "feature_cache_gib")
_OWN = ("pretrained", "clip", "question", "modality", "frames")
_NAME = re.compile(r"[\w.-]+")
# lmms-eval passes it to every model.
_IGNORED = ("max_batch_size",)


@dataclass(frozen=True)
class Arguments:
    """What was asked for.

    Attributes:
        settings: of a run on lmms-eval's questions.
        question: what methods that ask compare with: ``bare``, the user's text without the task's pre and
            post prompt; or ``prompt``, all of it.
    """

    settings: RunSettings
    question: str


def read_arguments(given: Mapping[str, Any]) -> Arguments:
    """Check ``--model_args`` and return the settings.

    Args:
        given: ``pretrained``, ``clip``, ``question``, ``modality``, ``frames``, and settings of a run:
            ``model``, ``pruner``, their keys such as ``pruner.graph.threshold``, ``budget`` and so on.

    Raises:
        UserError: for the first one that is wrong.
    """
    known = (*_OWN, *_GROUPS, *_SETTINGS)
    words: dict[str, Any] = {key: value for key, value in given.items() if key not in _IGNORED}
    for key, value in words.items():
        if key not in known and key.partition(".")[0] not in _GROUPS:
            raise unknown_key(f"model_args.{key}", value, known)
    pretrained, clip = words.pop("pretrained", None), words.pop("clip", None)
    question = words.pop("question", "bare")
    modality, frames = words.pop("modality", "image"), words.pop("frames", None)
    check_choice("question", question, QUESTIONS)
    check_choice("modality", modality, MODALITIES)
    if frames is not None and modality == "image":
        raise SettingError("frames", frames, "it together with modality=video")
    if pretrained is not None:
        words["model"] = words["model"] if "model" in words else model_named(str(pretrained))
        words["model.path"] = str(pretrained)
    if clip is not None:
        words["model.clip"] = clip
    words = {"pruner": "none"} | words | {"device": own_device(words.get("device", "auto"))}
    overrides = ["tracker=none", "outputs=.", *(f"{key}={_value(value)}" for key, value in words.items())]
    check_arguments(overrides)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        settings = RunSettings.from_config(compose("config", with_groups_keys(overrides)))
    asked = "AskedAboutVideos" if modality == "video" else "AskedAboutImages"
    benchmark = {"_target_": f"script_exp.lmms.asked.{asked}", "name": "lmms-eval"}
    if modality == "video":
        benchmark |= {"frames": frames}
    return Arguments(replace(settings, benchmark=benchmark), question)


def model_named(pretrained: str) -> str:
    """Return the name of the file in ``conf/model`` whose checkpoint ``pretrained`` is.

    A local folder belongs to it if it is called as the checkpoint on the hub is.

    Raises:
        SettingError: if there is none; its settings, such as the conversation, cannot be guessed.
    """
    paths = {
        file.stem: yaml.safe_load(file.read_text())["path"] for file in sorted(CONF.glob("model/*.yaml"))
    }
    for name, path in paths.items():
        if PurePath(pretrained).name == PurePath(path).name:
            return name
    raise SettingError(
        "pretrained", pretrained, f"it together with model=, one of {', '.join(paths)}, whose settings fit it"
    )


def own_device(given: str) -> str:
    """Return the GPU of this process among those that accelerate or torchrun has started, else ``given``."""
    import torch

    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if several and given in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return given


def _value(value: Any) -> str:
    """Return a value as a word of our command line: text in quotes, where it is more than a name."""
    if isinstance(value, str):
        return value if _NAME.fullmatch(value) else quoted(value)
    return "null" if value is None else str(value)
