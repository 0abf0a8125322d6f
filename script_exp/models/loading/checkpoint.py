"""Find a checkpoint and check it from its small files and headers, before gigabytes are read."""

from __future__ import annotations

import hashlib
import importlib
import json
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import transformers

from script_exp.benchmarks.reading.frame_count import FrameCount
from script_exp.errors import SettingError, UserError
from script_exp.models.families.adapter import ModelAdapter
from script_exp.models.families.registry import ADAPTERS, has_clip_tower, not_supported
from script_exp.models.families.video import frames_of_checkpoint
from script_exp.models.json_object import read_object
from script_exp.models.loading.architectures import ARCHITECTURES
from script_exp.models.loading.clip import check_clip
from script_exp.models.loading.original_internvl import (
    LAYOUT,
    internvl_config,
    is_original_internvl,
    load_internvl,
)
from script_exp.models.loading.original_llava import check_original, is_original, original_config
from script_exp.models.loading.quantization import check_quantized, quantized_by
from script_exp.models.loading.source import Source, locate
from script_exp.models.loading.transformers_report import load_checked, quiet_transformers
from script_exp.models.loading.wanted import Wanted
from script_exp.models.positions import positions_of
from script_exp.tiny import EMBEDDED


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was checked but not loaded.

    Attributes:
        layout: ``huggingface``, ``original`` (LLaVA's own), ``internvl`` (InternVL's own) or ``random`` (no
            weights at all).
        config: Hugging Face config, with the defaults of its architecture filled in.
        adapter: the adapter class of its family.
        source: where the weights are; None for random weights.
        clip: where the CLIP checkpoint with the text tower is; None if it is not needed.
    """

    layout: str
    config: Any
    adapter: type[ModelAdapter]
    source: Source | None
    clip: Source | None

    @property
    def llm_layers(self) -> int:
        """Decoder layers of the LLM."""
        return int(self.config.text_config.num_hidden_layers)

    @property
    def tokens_per_crop(self) -> int | None:
        """Visual tokens of one crop; None if they depend on the image."""
        return self.adapter.tokens_per_crop(self.config)

    def taking(self, modality: str) -> Checkpoint:
        """Return the same checkpoint with its family's adapter for a modality."""
        return replace(self, adapter=self.adapter.taking(modality))

    @property
    def llm_positions(self) -> int:
        """Positions that the LLM supports, stretched as its config says."""
        return positions_of(self.config)

    @property
    def frames(self) -> FrameCount | None:
        """Frames of a video that the model gets; None if it takes images.

        Raises:
            UserError: if the config of its video processor has an invalid frame count.
        """
        usual = self.adapter.frames
        if usual is None or self.source is None:
            return usual
        return frames_of_checkpoint(self.source.folder, usual)

    @property
    def fingerprint(self) -> str:
        """Identifies the weights, tokenizer and templates, including CLIP's if it is used."""
        if self.source is None:
            own = {key: value for key, value in self.config.to_dict().items() if key not in _NOT_ARCHITECTURE}
            return hashlib.sha256(json.dumps(own, sort_keys=True, default=str).encode()).hexdigest()[:16]
        return "-".join(used.fingerprint() for used in (self.source, self.clip) if used is not None)


# Keys of a config that say where it came from.
_NOT_ARCHITECTURE = ("_name_or_path", "transformers_version")


def find_checkpoint(wanted: Wanted, *, needs_query: bool) -> Checkpoint:
    """Find and check a checkpoint without loading weights.

    Args:
        wanted: what to look for.
        needs_query: whether the pruner needs the question, and so CLIP's text tower.

    Raises:
        UserError: if a file is missing, damaged or truncated, or the architecture is not the expected one.
    """
    own_adapter = None if wanted.adapter is None else _import_adapter(wanted.adapter)
    setting = f"model.path={wanted.path}"
    if wanted.weights == "random":
        return _fitting(setting, _random(wanted, own_adapter))
    source = _embedded(wanted.path) if wanted.path in EMBEDDED else locate("model.path", wanted.path)
    raw = _read_config(setting, source.folder)
    if is_original(raw):
        checkpoint = _original(source, wanted.clip, own_adapter)
    elif is_original_internvl(raw):
        config = internvl_config(source.folder)
        if source.repository is None or source.has_weights:
            _check_internvl(source)
        checkpoint = Checkpoint(LAYOUT, config, own_adapter or ADAPTERS[config.model_type], source, None)
    else:
        family = own_adapter or _adapter(setting, raw.get("model_type"))
        config = _read_transformers_config(source)
        checkpoint = Checkpoint("huggingface", config, family, source, None)
    _fitting(setting, checkpoint)
    check_quantized(setting, checkpoint.config)
    here = source.repository is None or source.has_weights
    if checkpoint.layout == "huggingface" and here and quantized_by(checkpoint.config) is None:
        _check_tensors(source)  # those of quantized weights are checked while they are loaded
    _check_name(setting, wanted.name, checkpoint.config, sizes=True)
    if not has_clip_tower(checkpoint.config) or not needs_query:
        return checkpoint
    return _with_clip(checkpoint, source, wanted.clip)


_TRAINED_BY = {"embedded": "", "embedded_next": "--model next ", "embedded_2": "--world 2 "}


def _embedded(path: str) -> Source:
    """Return where a checkpoint of the package is."""
    if not (EMBEDDED[path] / "config.json").is_file():
        raise SettingError(
            "model.path",
            path,
            f"outputs/{path}/weights, after `python runners/train_tiny.py {_TRAINED_BY[path]}--out "
            f"outputs/{path}`: this copy of the package has no weights for it",
        )
    return Source(f"model.path={path}", EMBEDDED[path])


def _fitting(setting: str, checkpoint: Checkpoint) -> Checkpoint:
    """Return a checkpoint whose adapters fit its config."""
    for modality in ("image", "video"):
        try:
            checkpoint.adapter.taking(modality).check_config(checkpoint.config)
        except SettingError as error:
            raise UserError(f"{setting}: {checkpoint.adapter.__name__} does not fit: {error}") from error
    return checkpoint


def _with_clip(checkpoint: Checkpoint, source: Source, clip: str | None) -> Checkpoint:
    found = locate("model.clip", clip) if clip else Source("model.clip=null", source.folder / "clip")
    if not found.folder.is_dir():
        raise UserError(
            f"model.clip={clip}: the pruner needs the text tower of the CLIP model that the vision tower "
            "comes from; expected the folder or hub id of this CLIP model"
        )
    if found.repository is None or found.has_weights:
        check_clip(found.setting, found.folder, checkpoint.config.vision_config)
    return Checkpoint(checkpoint.layout, checkpoint.config, checkpoint.adapter, source, found)


def _original(source: Source, clip: str | None, adapter: type[ModelAdapter] | None) -> Checkpoint:
    if clip is None:
        raise UserError(
            f"{source.setting} has LLaVA's original layout, without a config of its vision tower: "
            "expected model.clip=openai/clip-vit-large-patch14-336, or the folder of this CLIP model"
        )
    vision = locate("model.clip", clip)
    _check_original(source.with_weights(), vision.with_weights())
    config = original_config(source.folder, vision.folder)
    return Checkpoint("original", config, adapter or ADAPTERS[config.model_type], source, vision)


def _random(wanted: Wanted, adapter: type[ModelAdapter] | None) -> Checkpoint:
    """Find an architecture in a local folder's config.json, or by the name of a model in ARCHITECTURES."""
    setting, folder = f"model.path={wanted.path}", Path(wanted.path).expanduser()
    if (folder / "config.json").is_file():
        raw = _read_config(setting, folder)
        if is_original(raw) or is_original_internvl(raw):
            whose = "LLaVA" if is_original(raw) else "InternVL"
            raise UserError(
                f"{setting} has {whose}'s original layout: expected a transformers config.json for "
                "model.weights=random, or the default model.path"
            )
        adapter = adapter or _adapter(setting, raw.get("model_type"))
        config = _read_transformers_config(Source(setting, folder))
        _check_name(setting, wanted.name, config, sizes=False)
    elif wanted.name in ARCHITECTURES:
        config = ARCHITECTURES[wanted.name]()
        adapter = adapter or ADAPTERS[config.model_type]
    else:
        known = ", ".join(ARCHITECTURES)
        raise SettingError(
            "model.weights",
            "random",
            f"a folder with a config.json as model.path, or one of {known} as model",
        )
    return Checkpoint("random", config, adapter, None, None)


def _check_name(setting: str, name: str, config: Any, sizes: bool) -> None:
    """Check that no result is filed under the name of another model."""
    if name not in ARCHITECTURES:
        return
    expected = ARCHITECTURES[name]()
    described = [
        f"{one.model_type} with {llm.num_hidden_layers} layers of width {llm.hidden_size}"
        for one, llm in ((config, config.text_config), (expected, expected.text_config))
    ]
    if config.model_type != expected.model_type or (sizes and described[0] != described[1]):
        raise UserError(f"{setting} is a {described[0]}: expected a {described[1]} for model={name}")


@lru_cache
def _check_tensors(source: Source) -> None:
    """Check that the tensors match the architecture, from their headers: the device ``meta`` holds no data.

    Without this check, transformers would initialize missing weights at random.
    """
    folder = source.with_weights()
    with quiet_transformers():
        load_checked(transformers.AutoModelForImageTextToText, folder, source.setting, device_map="meta")


@lru_cache
def _check_internvl(source: Source) -> None:
    """As :func:`_check_tensors`, for InternVL's own layout."""
    folder = source.with_weights()
    with quiet_transformers():
        load_internvl(folder, internvl_config(folder), source.setting, device_map="meta")


@lru_cache
def _check_original(folder: Path, vision: Path) -> None:
    check_original(folder, vision)


def _read_config(setting: str, folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    if not file.is_file():
        raise UserError(f"{setting}: no config.json in {folder}; expected a folder with a checkpoint")
    return read_object(file)


def _read_transformers_config(source: Source) -> Any:
    try:
        return transformers.AutoConfig.from_pretrained(source.folder, local_files_only=True)
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        raise UserError(f"{source.setting}: its config.json cannot be read ({error})") from error


def _adapter(setting: str, family: object) -> type[ModelAdapter]:
    if not isinstance(family, str) or family not in ADAPTERS:
        raise UserError(
            f"{setting}: its config.json names the architecture {not_supported(family)}, or an adapter "
            "for it in model.adapter"
        )
    return ADAPTERS[family]


def _import_adapter(name: str) -> type[ModelAdapter]:
    module, _, attribute = name.rpartition(".")
    try:
        adapter = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingError("model.adapter", name, f"the dotted name of an adapter class ({error})") from error
    if not (isinstance(adapter, type) and issubclass(adapter, ModelAdapter)):
        raise SettingError(
            "model.adapter", name, "a subclass of script_exp.models.families.adapter.ModelAdapter"
        )
    return adapter
