"""Weights of the LLM in 8 or 4 bits: ``model.quantization``, and checkpoints that are quantized already.

Both formats hold the weights of the decoder's linear layers, need no calibration, and compute in the dtype of
the run: ``int8`` is torchao's weight-only format, one scale per row; ``int4`` is bitsandbytes' NF4 (QLoRA,
arXiv 2305.14314), one scale for 64 weights. The vision tower, the projector and the head stay as they are, so
a method before the LLM sees the same features as without.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForImageTextToText, BitsAndBytesConfig, TorchAoConfig

from script_exp.errors import SettingError, UserError
from script_exp.models.families.adapter import ModelAdapter
from script_exp.models.layer_kinds import experts_of

_PACKAGES = {"int8": "torchao", "int4": "bitsandbytes"}


def quantized_by(config: Any) -> str | None:
    """Return the method that the weights of a checkpoint are already quantized with; None if they are not."""
    own = getattr(config, "quantization_config", None)
    if own is None:
        return None
    return str(own["quant_method"] if isinstance(own, dict) else own.quant_method)


def packages_of(quantization: str, config: Any) -> list[str]:
    """Return the packages that the weights of a run need besides those of every run."""
    return [name for name in (_PACKAGES.get(quantization), quantized_by(config)) if name is not None]


def check_quantized(setting: str, config: Any) -> None:
    """Check that a checkpoint whose weights are quantized can be loaded here.

    Raises:
        UserError: for another method than bitsandbytes and torchao, or without the package.
    """
    method = quantized_by(config)
    if method is None:
        return
    if method not in _PACKAGES.values():
        raise UserError(
            f"{setting}: its weights are quantized by {method}: expected {' or '.join(_PACKAGES.values())}"
        )
    if importlib.util.find_spec(method) is None:
        raise UserError(f"{setting}: its weights are quantized by {method}: expected pip install {method}")


def check_quantization(
    quantization: str, config: Any, layout: str, device: torch.device, compiled: str
) -> None:
    """Check that weights can be quantized, or are quantized so that they run here.

    Args:
        quantization: ``model.quantization``.
        config: config of the checkpoint.
        layout: its layout.
        device: the device of the run.
        compiled: ``model.compile``.

    Raises:
        SettingError: if they cannot.
    """
    key, method = "model.quantization", quantized_by(config)
    if method is not None:
        if quantization != "off":
            raise SettingError(key, quantization, f"off: the checkpoint is already quantized by {method}")
        four_bits = method == "bitsandbytes" and config.quantization_config.get("load_in_4bit")
        if device.type == "cpu" and four_bits:
            raise SettingError("device", device, "a GPU: the weights of the checkpoint have 4 bits")
        if layout == "random":
            raise SettingError("model.weights", layout, "pretrained: the config is of quantized weights")
    if quantization == "off" and method is None:
        return
    if compiled != "off":
        raise SettingError("model.compile", compiled, "off with quantized weights")
    if quantization == "off":
        return
    if layout in ("random", "original"):
        what = "random weights" if layout == "random" else "a checkpoint in LLaVA's original layout"
        raise SettingError(key, quantization, f"off with {what}")
    if experts_of(config.get_text_config()):
        why = "most weights of this model are its experts', which are not in linear layers and would stay"
        raise SettingError(key, quantization, f"off: {why}")
    package = _PACKAGES[quantization]
    if importlib.util.find_spec(package) is None:
        raise SettingError(key, quantization, f"off; or pip install {package}")
    if quantization == "int4" and device.type == "cpu":
        raise SettingError(key, quantization, "int8 or off on a CPU")


def quantization_config(
    quantization: str, config: Any, adapter: type[ModelAdapter], dtype: torch.dtype
) -> Any | None:
    """Return how ``from_pretrained`` quantizes a model while it loads it; None for ``off``.

    Args:
        quantization: ``model.quantization``, which :func:`check_quantization` has checked.
        config: config of the model.
        adapter: adapter of its family.
        dtype: the dtype to compute in.
    """
    if quantization == "off":
        return None
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    kept = list(_outside(model, adapter(model).llm))
    if quantization == "int4":
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=dtype,
            llm_int8_skip_modules=kept,
        )
    formats = importlib.import_module("torchao.quantization")
    eight = formats.Int8WeightOnlyConfig(set_inductor_config=False)  # nothing is compiled
    return TorchAoConfig(eight, modules_to_not_convert=kept)


def _outside(module: nn.Module, llm: nn.Module, prefix: str = "") -> Iterator[str]:
    """Yield the full names of the largest parts of a model that have nothing of its decoder in them."""
    for name, part in module.named_children():
        if part is llm:
            continue
        if any(inner is llm for inner in part.modules()):
            yield from _outside(part, llm, f"{prefix}{name}.")
        else:
            yield prefix + name
