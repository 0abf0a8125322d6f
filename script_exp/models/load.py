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

_WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json")


@dataclass(frozen=True)
class Checkpoint:
    """A model folder that was looked at, but not loaded.

    Attributes:
        folder: where it is.
        config: its config.json.
        clip: folder of the CLIP checkpoint with the text tower.
    """

    folder: Path
    config: dict[str, Any]
    clip: Path

    @property
    def llm_layers(self) -> int:
        """Decoder layers of the LLM."""
        return int(self.config["text_config"]["num_hidden_layers"])

    @property
    def has_clip(self) -> bool:
        """Whether there is a text tower for the methods that ask the question."""
        return (self.clip / "model.safetensors").is_file()

    @property
    def fingerprint(self) -> str:
        """Hash that tells retrained weights from the ones before, without reading gigabytes.

        It covers config.json, and the name, size and first MiB of every weight file.
        """
        digest = hashlib.sha256(json.dumps(self.config, sort_keys=True).encode())
        for file in sorted([*self.folder.glob("*.safetensors"), *self.clip.glob("*.safetensors")]):
            digest.update(f"{file.name}:{file.stat().st_size}".encode())
            with file.open("rb") as opened:
                digest.update(opened.read(2**20))
        return digest.hexdigest()[:16]


def find_checkpoint(path: str, clip: str | None) -> Checkpoint:
    """Look at the folder ``path`` (or ``embedded``, the tiny model of the package) without loading weights.

    Args:
        path: ``model.path``.
        clip: ``model.clip``; None for the subfolder ``clip`` of the checkpoint.

    Raises:
        UserError: if a file is missing, or the architecture has no adapter.
    """
    folder = WEIGHTS if path == "embedded" else Path(path).expanduser()
    config_file = folder / "config.json"
    if not config_file.is_file():
        raise UserError(f"model.path={path}: no config.json in {folder}; expected a folder with a checkpoint")
    _check_weights(path, folder)
    try:
        config = json.loads(config_file.read_text())
    except json.JSONDecodeError as error:
        raise UserError(f"model.path={path}: {config_file} is not valid JSON ({error})") from error
    if config.get("model_type") not in ADAPTERS:
        raise UserError(
            f"model.path={path}: its config.json names the architecture {config.get('model_type')!r}; "
            f"expected one of {', '.join(ADAPTERS)}"
        )
    return Checkpoint(folder, config, folder / "clip" if clip is None else Path(clip).expanduser())


def _check_weights(path: str, folder: Path) -> None:
    """Read the headers of the weight files: a file that was cut off is found before anything is loaded."""
    if not any((folder / name).is_file() for name in _WEIGHT_FILES):
        raise UserError(f"model.path={path}: no weights in {folder}; expected {' or '.join(_WEIGHT_FILES)}")
    for file in folder.glob("*.safetensors"):
        try:
            with safe_open(file, framework="pt"):
                pass
        except SafetensorError as error:
            raise UserError(f"model.path={path}: {file} is damaged or cut off ({error})") from error


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
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise SettingError(
            "device", device, f"a device that is there; torch sees {torch.cuda.device_count()} GPUs"
        )
    return place


def resolve_dtype(dtype: str, device: torch.device, config: dict[str, Any]) -> torch.dtype:
    """The dtype to load in; ``auto`` is float32 on a CPU, the one in the checkpoint's config on a GPU."""
    if dtype == "auto":
        dtype = (
            "float32" if device.type == "cpu" else config.get("dtype", config.get("torch_dtype", "float32"))
        )
    return getattr(torch, dtype)  # type: ignore[no-any-return]
