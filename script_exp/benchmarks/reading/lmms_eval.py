"""What a task of lmms-eval asks, for both directions: our loop under its tasks, its tasks in our runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from PIL import Image

from script_exp.errors import SettingError, UserError

_TOKENS = 1024  # of an answer if the task does not say, as for lmms-eval's own LLaVA

_RELEASES = "0.7."
"""The releases whose tasks and requests are as expected here."""


def installed_release() -> str:
    """Return the release of lmms-eval.

    Raises:
        UserError: if it is not installed, or another one than expected.
    """
    try:
        release = metadata.version("lmms_eval")
    except metadata.PackageNotFoundError as error:
        raise UserError(f"lmms-eval is not installed: expected {_RELEASES}x (docs/lmms_eval.md)") from error
    if not release.startswith(_RELEASES):
        raise UserError(f"lmms-eval {release} is installed: expected {_RELEASES}x (docs/lmms_eval.md)")
    return release


def prompt_of(context: str) -> str:
    """Return the user's text of a question, without marks for the place of its image."""
    return context.replace("<image>", "").replace("<video>", "").strip()


def without_prompts(text: str, task: Any) -> tuple[str, str]:
    """Return the text without what the task's YAML puts around each question, and only without the end.

    Args:
        text: the user's text.
        task: an lmms-eval task.
    """
    own = getattr(task, "lmms_eval_specific_kwargs", None) or {}
    before, after = (str(own.get(key) or "").strip() for key in ("pre_prompt", "post_prompt"))
    released = text.removesuffix(after).strip() or text
    return released.removeprefix(before).strip() or text, released


def new_tokens(settings: Mapping[str, Any], task: str) -> int:
    """Return the most tokens of an answer, from a task's ``generation_kwargs``.

    Raises:
        SettingError: if it is not to be the most likely one.
    """
    temperature = settings.get("temperature") or 0
    if settings.get("do_sample", temperature > 0) or (settings.get("num_beams") or 1) > 1:
        raise SettingError(
            "temperature", f"{temperature} of {task}", "greedy answers: temperature=0,do_sample=False"
        )
    return int(settings.get("max_new_tokens", _TOKENS))


def until(text: str, stops: str | Sequence[str] | None) -> str:
    """Return the answer before the first of the task's stops.

    Blank lines do not stop it: lmms-eval adds one to every task, and its own models leave it out.
    """
    for stop in [stops] if isinstance(stops, str) else stops or ():
        if stop.strip():
            text = text.split(stop)[0]
    return text


def only_visual(doc_to_visual: Callable[[Any], Any], documents: Any, number: int, name: str) -> Any:
    """Return what the question ``name`` is about: an image, or the path of a video.

    Raises:
        UserError: if there are none or several.
    """
    visuals = doc_to_visual(documents[number])
    count = len(visuals) if isinstance(visuals, list | tuple) else 0
    if count != 1:
        raise UserError(f"{name} has {count} images or videos: expected one; others are not pruned here")
    return visuals[0]


def as_image(visual: Any, name: str) -> Image.Image:
    """Return the image in RGB.

    Raises:
        UserError: if it is something else.
    """
    if not isinstance(visual, Image.Image):
        hint = "; modality=video takes videos" if isinstance(visual, str) else ""
        raise UserError(f"{name} has a {type(visual).__name__} as its visual: expected an image{hint}")
    return visual.convert("RGB")


def as_video(visual: Any, name: str) -> Path:
    """Return the path of the video.

    Raises:
        UserError: if it is something else.
    """
    if not isinstance(visual, str):
        raise UserError(f"{name} has a {type(visual).__name__} as its visual: expected the path of a video")
    return Path(visual).absolute()
