"""Find a checkpoint, check it before gigabytes are read, and load it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError, safe_open

from script_exp.errors import SettingError, UserError
from script_exp.models.images import ModelAdapter
from script_exp.models.llava import LlavaAdapter
from script_exp.models.prunable import PrunableModel
from script_exp.models.query_encoder import ClipQueryEncoder
from script_exp.tiny import WEIGHTS

# model_type of a checkpoint's config.json -> adapter
ADAPTERS: dict[str, type[ModelAdapter]] = {"llava": LlavaAdapter}

_CLIP_WEIGHTS = "model.safetensors"
_MIB = 2**20
_READ_IN_FULL = 64 * _MIB
_WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json")


@dataclass(frozen=True)
class Checkpoint:
    """A model folder that was looked at, but not loaded.

    Attributes:
        folder: where it is.
        config: its config, with the defaults of its architecture filled in.
        clip: folder of the CLIP checkpoint with the text tower; it may not exist.
    """

    folder: Path
    config: Any
    clip: Path

    @property
    def llm_layers(self) -> int:
        """Decoder layers of the LLM."""
        return int(self.config.text_config.num_hidden_layers)

    @property
    def tokens_per_crop(self) -> int:
        """Visual tokens of one crop: the patches of the vision tower."""
        vision = self.config.vision_config
        return int(vision.image_size // vision.patch_size) ** 2

    @property
    def has_clip(self) -> bool:
        """Whether there is a text tower for the methods that ask the question."""
        return (self.clip / _CLIP_WEIGHTS).is_file()

    def fingerprint(self, with_clip: bool) -> str:
        """Hash that tells other weights, tokenizers and templates apart.

        Files up to 64 MiB are read in full; of larger ones the size and the first, middle and last MiB, so
        that 14 GB of weights need not be read twice.
        """
        digest = hashlib.sha256()
        folders = [self.folder, self.clip] if with_clip else [self.folder]
        for file in (file for folder in folders for file in sorted(folder.iterdir()) if file.is_file()):
            size = file.stat().st_size
            digest.update(f"{file.name}:{size}:".encode())
            with file.open("rb") as opened:
                for start in [0] if size <= _READ_IN_FULL else [0, size // 2, size - _MIB]:
                    opened.seek(start)
                    digest.update(opened.read(_READ_IN_FULL if size <= _READ_IN_FULL else _MIB))
        return digest.hexdigest()[:16]


def find_checkpoint(path: str, clip: str | None) -> Checkpoint:
    """Look at the folder ``path`` (or ``embedded``, the tiny model of the package) without loading weights.

    Args:
        path: ``model.path``.
        clip: ``model.clip``; None for the subfolder ``clip`` of the checkpoint.

    Raises:
        UserError: if a file is missing, damaged or cut off, or the architecture has no adapter.
    """
    folder = WEIGHTS if path == "embedded" else Path(path).expanduser()
    config_file = folder / "config.json"
    if not config_file.is_file():
        raise UserError(f"model.path={path}: no config.json in {folder}; expected a folder with a checkpoint")
    try:
        family = json.loads(config_file.read_text()).get("model_type")
    except json.JSONDecodeError as error:
        raise UserError(f"model.path={path}: {config_file} is not valid JSON ({error})") from error
    if family not in ADAPTERS:
        raise UserError(
            f"model.path={path}: its config.json names the architecture {family!r}; "
            f"expected one of {', '.join(ADAPTERS)}"
        )
    _check_weights(f"model.path={path}", folder)
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    checkpoint = Checkpoint(folder, config, folder / "clip" if clip is None else Path(clip).expanduser())
    if checkpoint.has_clip:
        _check_weights(f"model.clip={clip}", checkpoint.clip)
    return checkpoint


def _check_weights(setting: str, folder: Path) -> None:
    """Read the headers of the weight files, so that one that is missing or cut off is found first."""
    if not any((folder / name).is_file() for name in _WEIGHT_FILES):
        raise UserError(f"{setting}: no weights in {folder}; expected {' or '.join(_WEIGHT_FILES)}")
    files = set(folder.glob("*.safetensors"))
    index = folder / _WEIGHT_FILES[1]
    if index.is_file():
        files |= {folder / name for name in json.loads(index.read_text())["weight_map"].values()}
    for file in sorted(files):
        try:
            with safe_open(file, framework="pt"):
                pass
        except FileNotFoundError as error:
            raise UserError(f"{setting}: {file} is missing; {index.name} names it") from error
        except SafetensorError as error:
            raise UserError(f"{setting}: {file} is damaged or cut off ({error})") from error


def load_model(
    checkpoint: Checkpoint, *, device: torch.device, dtype: torch.dtype, attention: str, relevance_sign: int
) -> PrunableModel:
    """Load model, processor and, where there is one, the query encoder.

    Args:
        checkpoint: from :func:`find_checkpoint`.
        device: from :func:`resolve_device`.
        dtype: from :func:`resolve_dtype`.
        attention: attention kernel, as transformers names them.
        relevance_sign: what the model's config declares, see :class:`script_exp.pruners.Query`.

    Raises:
        UserError: if weights of the architecture are missing from the checkpoint or left over.
    """
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    model, report = transformers.AutoModelForImageTextToText.from_pretrained(
        checkpoint.folder,
        dtype=dtype,
        attn_implementation=attention,
        local_files_only=True,
        output_loading_info=True,
    )
    problems = {kind: sorted(report[kind]) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    if any(problems.values()):
        raise UserError(f"{checkpoint.folder}: the checkpoint does not fit its config.json: {problems}")
    model = model.eval().to(device)
    processor = transformers.AutoProcessor.from_pretrained(checkpoint.folder, local_files_only=True)
    adapter = ADAPTERS[model.config.model_type](model)
    encoder = None
    if checkpoint.has_clip:
        encoder = ClipQueryEncoder.from_folder(checkpoint.clip, adapter.tower_width, device)
    return PrunableModel(model, processor, adapter, encoder, relevance_sign)


def resolve_device(device: str) -> torch.device:
    """The device that ``device`` names; ``auto`` is the GPU if there is one.

    Raises:
        SettingError: for an unknown name or a device that is not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise SettingError("device", device, "auto, cpu, cuda or cuda:0 and so on") from error
    if place.type not in ("cpu", "cuda"):
        raise SettingError("device", device, "auto, cpu, cuda or cuda:0 and so on")
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise SettingError(
            "device", device, f"a device that is there; torch sees {torch.cuda.device_count()} GPUs"
        )
    return place


def resolve_dtype(dtype: str, device: torch.device, own: torch.dtype | None) -> torch.dtype:
    """The dtype to load in; ``auto`` is float32 on a CPU, the checkpoint's ``own`` on a GPU."""
    if dtype == "auto":
        return torch.float32 if device.type == "cpu" or own is None else own
    return getattr(torch, dtype)  # type: ignore[no-any-return]
