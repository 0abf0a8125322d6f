"""Find a checkpoint and check it from its small files and headers, before gigabytes are read."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import huggingface_hub
import transformers
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)

from script_exp.errors import SettingError, UserError
from script_exp.models.architectures import ARCHITECTURES
from script_exp.models.families import ADAPTERS, has_clip_tower
from script_exp.models.images import ModelAdapter
from script_exp.models.original_llava import check_original, is_original, original_config
from script_exp.models.query_encoder import VISUAL_PROJECTION
from script_exp.models.tensors import check_weights, tensor_names, tensor_shapes
from script_exp.models.transformers_report import check_report, quiet_transformers
from script_exp.tiny import WEIGHTS

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_SMALL_FILES = ["*.json", "*.txt", "*.model", "*.jinja"]
_MIB = 2**20
_READ_IN_FULL = 64 * _MIB


@dataclass(frozen=True)
class Source:
    """Where files come from: a local folder, or a hub repository with a folder in the local cache."""

    folder: Path
    repository: str | None = None

    def has_tensor(self, name: str) -> bool:
        """Whether a tensor is there; what is still on the hub is taken to be complete."""
        return self.repository is not None or name in tensor_names(self.folder)

    def with_weights(self) -> Path:
        """The folder, with the weights in it; downloads them if they come from the hub."""
        if self.repository is not None:
            _download("model.path", self.repository, [*_SMALL_FILES, "*.safetensors"])
            if not list(self.folder.glob("*.safetensors")):
                _download("model.path", self.repository, ["*.bin"])
        return self.folder

    def fingerprint(self) -> str:
        """Tells other weights, tokenizers and templates apart.

        For the hub the commit; for a folder a hash. Files up to 64 MiB are read in full; of larger ones the
        size and the first, middle and last MiB, so that 14 GB of weights need not be read twice.
        """
        if self.repository is not None:
            return f"{self.repository}@{self.folder.name}"
        digest = hashlib.sha256()
        for file in (file for file in sorted(self.folder.iterdir()) if file.is_file()):
            size = file.stat().st_size
            digest.update(f"{file.name}:{size}:".encode())
            with file.open("rb") as opened:
                for start in [0] if size <= _READ_IN_FULL else [0, size // 2, size - _MIB]:
                    opened.seek(start)
                    digest.update(opened.read(_READ_IN_FULL if size <= _READ_IN_FULL else _MIB))
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Checkpoint:
    """A model that was looked at, but not loaded.

    Attributes:
        layout: ``huggingface``, ``original`` (LLaVA's own) or ``random`` (no weights at all).
        config: Hugging Face config, with the defaults of its architecture filled in.
        adapter: what is special about its family.
        source: where the weights are; None for random ones.
        clip: where the CLIP checkpoint with the text tower is; None if there is none.
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
        """Visual tokens of one crop; None where that depends on the image."""
        return self.adapter.tokens_per_crop(self.config)

    @property
    def can_encode_queries(self) -> bool:
        """Whether there is what the methods that ask the question need."""
        if self.layout == "random" or not has_clip_tower(self.config):
            return True
        return self.clip is not None and self.clip.has_tensor(VISUAL_PROJECTION)

    def fingerprint(self, with_clip: bool) -> str:
        """Hash that tells other weights, tokenizers and templates apart."""
        if self.source is None:
            return hashlib.sha256(
                json.dumps(self.config.to_dict(), sort_keys=True, default=str).encode()
            ).hexdigest()[:16]
        used = [self.source, self.clip] if with_clip or self.layout == "original" else [self.source]
        return "-".join(source.fingerprint() for source in used if source is not None)


def find_checkpoint(
    path: str,
    clip: str | None,
    weights: str = "pretrained",
    name: str = "",
    adapter: str | None = None,
) -> Checkpoint:
    """Look at a checkpoint without loading weights.

    Args:
        path: ``model.path``: a folder, a hub id, or ``embedded`` for the tiny model of the package.
        clip: ``model.clip``: a folder or a hub id; None for the subfolder ``clip`` of the checkpoint, if it
            has one.
        weights: ``pretrained``; or ``random`` for an architecture without weights.
        name: ``model.name``: tells the architecture of random weights if ``path`` is no folder.
        adapter: ``model.adapter``: dotted name of the family's adapter, imported before the config is read;
            None for the one of the checkpoint's architecture.

    Raises:
        UserError: if a file is missing, damaged or cut off, or the architecture has no adapter.
    """
    own_adapter = None if adapter is None else _import_adapter(adapter)
    if weights == "random":
        return _random(name, path, own_adapter)
    setting = f"model.path={path}"
    source = Source(WEIGHTS) if path == "embedded" else _locate("model.path", path)
    raw = _read_config(setting, source.folder)
    clip_source = _clip(source, clip)
    if is_original(raw):
        return _original(setting, source, clip_source)
    family = own_adapter or _adapter(setting, raw.get("model_type"))
    if source.repository is None:
        check_weights(setting, source.folder)
        _check_tensors(source.folder)
    config = transformers.AutoConfig.from_pretrained(source.folder, local_files_only=True)
    if clip_source is not None and clip_source.repository is None and has_clip_tower(config):
        _check_clip(clip_source.folder, config)
    return Checkpoint("huggingface", config, family, source, clip_source)


def _random(name: str, path: str, adapter: type[ModelAdapter] | None) -> Checkpoint:
    """The architecture of a local folder's config.json, or of a model that the framework knows by name."""
    setting, folder = f"model.path={path}", Path(path).expanduser()
    if (folder / "config.json").is_file():
        adapter = adapter or _adapter(setting, _read_config(setting, folder).get("model_type"))
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    elif name in ARCHITECTURES:
        config = ARCHITECTURES[name]()
        adapter = adapter or ADAPTERS[config.model_type]
    else:
        known = ", ".join(ARCHITECTURES)
        raise SettingError(
            "model.weights",
            "random",
            f"model.path to be a folder with a config.json, or model one of {known}",
        )
    return Checkpoint("random", config, adapter, None, None)


@lru_cache
def _check_tensors(folder: Path) -> None:
    """Whether the tensors are those of the architecture, from the headers: transformers loads onto no device.

    Left alone it would draw missing weights at random.
    """
    with quiet_transformers():
        _, report = transformers.AutoModelForImageTextToText.from_pretrained(
            folder, device_map="meta", local_files_only=True, output_loading_info=True
        )
    check_report(folder, report)


def _check_clip(folder: Path, config: Any) -> None:
    """Whether a CLIP's projection and patches are those of the model's vision tower, from headers alone."""
    setting = f"model.clip={folder}"
    check_weights(setting, folder)
    width, tower = config.vision_config.hidden_size, config.vision_config
    projection = tensor_shapes(folder).get(VISUAL_PROJECTION)
    if projection is None:
        raise UserError(f"{setting}: no {VISUAL_PROJECTION} there; expected a whole CLIP")
    if projection[1] != width:
        raise UserError(
            f"{setting}: its visual projection takes {projection[1]} features, but the model's vision tower "
            f"has {width}; expected the CLIP that this tower came from"
        )
    own = transformers.CLIPConfig.from_pretrained(folder).vision_config
    patches, needed = ((one.image_size // one.patch_size) ** 2 for one in (own, tower))
    if patches != needed:
        raise UserError(
            f"{setting}: its vision tower has {patches} patches, but the model's has {needed}; "
            "expected the CLIP that this tower came from"
        )


def _original(setting: str, source: Source, clip: Source | None) -> Checkpoint:
    if clip is None:
        raise UserError(
            f"{setting} has LLaVA's original layout without a config of its vision tower: "
            "expected model.clip=openai/clip-vit-large-patch14-336 or a folder with it"
        )
    vision = clip.with_weights()
    check_original(source.with_weights(), vision)
    config = original_config(source.folder, vision)
    return Checkpoint("original", config, ADAPTERS[config.model_type], source, clip)


def _clip(source: Source, clip: str | None) -> Source | None:
    if clip is not None:
        return _locate("model.clip", clip)
    own = source.folder / "clip"
    return Source(own) if own.is_dir() else None


def _locate(setting: str, path: str) -> Source:
    folder = Path(path).expanduser()
    if folder.is_dir():
        return Source(folder)
    if not _HUB_ID.fullmatch(path):
        raise SettingError(
            setting, path, "a folder with a checkpoint, or the id of one on the hub; it is neither"
        )
    return Source(_download(setting, path, _SMALL_FILES), path)


def _download(setting: str, repository: str, patterns: list[str]) -> Path:
    try:
        return Path(huggingface_hub.snapshot_download(repository, allow_patterns=patterns))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise SettingError(
            setting,
            repository,
            "a folder, or a hub id that is in the local cache; there is no such folder, and the hub "
            "cannot be asked (HF_HUB_OFFLINE=0 allows the download)",
        ) from error
    except (HfHubHTTPError, HFValidationError) as error:
        raise SettingError(setting, repository, f"a folder or a hub id ({error})") from error


def _read_config(setting: str, folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    if not file.is_file():
        raise UserError(f"{setting}: no config.json in {folder}; expected a folder with a checkpoint")
    try:
        return json.loads(file.read_text())  # type: ignore[no-any-return]
    except json.JSONDecodeError as error:
        raise UserError(f"{setting}: {file} is not valid JSON ({error})") from error


def _adapter(setting: str, family: object) -> type[ModelAdapter]:
    if not isinstance(family, str) or family not in ADAPTERS:
        raise UserError(
            f"{setting}: its config.json names the architecture {family!r}; "
            f"expected one of {', '.join(ADAPTERS)}, or model.adapter to name an adapter for it"
        )
    return ADAPTERS[family]


def _import_adapter(name: str) -> type[ModelAdapter]:
    module, _, attribute = name.rpartition(".")
    try:
        adapter = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingError("model.adapter", name, f"the dotted name of an adapter class ({error})") from error
    if not (isinstance(adapter, type) and issubclass(adapter, ModelAdapter)):
        raise SettingError("model.adapter", name, "a subclass of script_exp.models.images.ModelAdapter")
    return adapter
