"""Load checkpoints in the layout of LLaVA's authors, such as liuhaotian/llava-v1.5-7b.

transformers takes such a folder for its own layout, finds none of the weights and initializes them at random.
Here the names are translated while ``from_pretrained`` reads, and every tensor has to be accounted for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    CLIPConfig,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
)

from script_exp.errors import UserError
from script_exp.models.json_object import read_object
from script_exp.models.loading.tensors import check_names, check_weights, read_tensors, tensor_shapes

# key -> the original's default, the supported values
_SUPPORTED: dict[str, tuple[object, tuple[object, ...]]] = {
    "model_type": (None, ("llava", "llava_llama")),
    "mm_projector_type": ("linear", ("mlp2x_gelu",)),
    "mm_resampler_type": (None, (None,)),
    "mm_patch_merge_type": ("flat", ("flat", "spatial_unpad")),
    "mm_vision_select_feature": ("patch", ("patch",)),
    "mm_use_im_start_end": (False, (False,)),
    "mm_use_im_patch_token": (True, (False,)),
    "s2": (False, (False,)),
    "tie_word_embeddings": (False, (False,)),
}
_ASPECT_RATIOS = {"flat": (None, "square", "pad"), "spatial_unpad": ("anyres",)}
_SIZES = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size",
    "max_position_embeddings", "rms_norm_eps", "mm_hidden_size", "mm_vision_select_layer",
)  # fmt: skip
_LLAMA_KEYS = (
    *_SIZES[:7], "num_key_value_heads", "head_dim", "hidden_act", "attention_bias", "mlp_bias", "rope_theta",
    "rope_scaling", "initializer_range", "bos_token_id", "eos_token_id", "pad_token_id",
)  # fmt: skip

_TOWER = "model.vision_tower."
_KEY_MAPPING = {
    r"^model\.mm_projector\.0\.": "model.multi_modal_projector.linear_1.",
    r"^model\.mm_projector\.2\.": "model.multi_modal_projector.linear_2.",
    r"^model\.vision_tower\.vision_tower\.vision_model\.": _TOWER,
    r"^model\.(embed_tokens|layers|norm)\.": r"model.language_model.\1.",
}
# buffers that old releases of transformers saved and current ones compute
_IGNORED = re.compile(r"(^|\.)(rotary_emb\.inv_freq|position_ids)$")


def is_original(config: Mapping[str, Any]) -> bool:
    """Return whether a config.json has the original layout: its LLM settings are at the top level."""
    return "mm_vision_tower" in config and "text_config" not in config


def original_config(folder: Path, vision: Path) -> LlavaConfig | LlavaNextConfig:
    """Return the config of the same model in transformers' layout.

    The placeholder of an image token is the first id after the vocabulary. ``image_aspect_ratio`` is kept as
    an attribute, and the grid pinpoints, (width, height) in the original, become (height, width).

    Args:
        folder: the original checkpoint.
        vision: folder of the CLIP model that it names, complete or only the vision tower.

    Raises:
        UserError: if a file or a key is missing, a value is not supported, or it is not the right CLIP model.
    """
    file = folder / "config.json"
    raw = read_object(file)
    for key in _SUPPORTED:
        _check(file, raw, key)
    for key in _SIZES:
        if raw.get(key) is None:
            raise UserError(f"{file}: {key} is missing; expected the config.json of a LLaVA with a Llama LLM")
    tower = _vision_config(vision)
    _check_tower(file, raw, vision, tower)
    layer, depth = raw["mm_vision_select_layer"], tower.num_hidden_layers
    if not isinstance(layer, int) or not -depth <= layer <= depth:
        raise _unsupported(file, "mm_vision_select_layer", layer, f"a layer from -{depth} to {depth}")
    merge = raw.get("mm_patch_merge_type", "flat")
    ratio = raw.get("image_aspect_ratio")
    if ratio not in _ASPECT_RATIOS[merge]:
        expected = f"{_either(_ASPECT_RATIOS[merge])} with mm_patch_merge_type={merge!r}"
        raise _unsupported(file, "image_aspect_ratio", ratio, expected)
    shared = {
        "text_config": LlamaConfig(**{key: raw[key] for key in _LLAMA_KEYS if raw.get(key) is not None}),
        "vision_config": tower,
        "vision_feature_layer": layer,
        "image_token_index": raw["vocab_size"],
        "image_seq_length": (tower.image_size // tower.patch_size) ** 2,
        "image_aspect_ratio": ratio,
        "dtype": raw.get("torch_dtype"),
    }
    if merge == "flat":
        return LlavaConfig(**shared)
    return LlavaNextConfig(**shared, image_grid_pinpoints=_pinpoints(file, raw, tower.image_size))


def check_original(folder: Path, vision: Path) -> None:
    """Compare names and shapes of all tensors with the architecture, using only the headers.

    Raises:
        UserError: as :func:`original_config`; also if a file is missing, damaged or truncated, or a tensor is
            missing, unexpected or of the wrong shape.
    """
    _compare(folder, vision, original_config(folder, vision))


def load_original(
    folder: Path, vision: Path, config: LlavaConfig | LlavaNextConfig, *, dtype: torch.dtype, attention: str
) -> LlavaForConditionalGeneration | LlavaNextForConditionalGeneration:
    """Load the model in evaluation mode, on the CPU.

    The input embedding gets one extra row, zeros for the placeholder. The LM head does not, so the logits are
    those of the original.

    Args:
        folder: the original checkpoint.
        vision: folder of the CLIP model; its tower is loaded if the checkpoint has none.
        config: from :func:`original_config`.
        dtype: dtype of the weights.
        attention: name of the attention kernel in transformers.

    Raises:
        UserError: as :func:`check_original`.
    """
    has_tower = _compare(folder, vision, config)
    model, report = _architecture(config).from_pretrained(
        folder,
        config=config,
        key_mapping=dict(_KEY_MAPPING),
        dtype=dtype,
        attn_implementation=attention,
        local_files_only=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are in the report
    )
    missing = {name for name in report["missing_keys"] if has_tower or not name.startswith(_TOWER)}
    unexpected = {name for name in report["unexpected_keys"] if not _IGNORED.search(name)}
    check_names(folder, missing, unexpected, map(str, report["mismatched_keys"]))
    if not has_tower:
        names = _tower_names(vision, tensor_shapes(vision))
        tensors = read_tensors(vision, names.__contains__)
        model.model.vision_tower.load_state_dict({names[name]: tensors[name] for name in names})
    embedding = model.get_input_embeddings()
    embedding.weight = nn.Parameter(nn.functional.pad(embedding.weight.detach(), (0, 0, 0, 1)))
    embedding.num_embeddings += 1
    return model.eval()


def _either(values: Iterable[object]) -> str:
    return " or ".join(map(repr, values))


def _unsupported(file: Path, key: str, value: object, expected: str) -> UserError:
    return UserError(f"{file}: {key}={value!r} is not supported; expected {expected}")


def _check(file: Path, raw: Mapping[str, Any], key: str) -> None:
    assumed, supported = _SUPPORTED[key]
    value = raw.get(key, assumed)
    if value not in supported:
        note = "" if key in raw else f" (the key is missing, and the original's default is {value!r})"
        raise _unsupported(file, key, value, _either(supported) + note)


def _vision_config(vision: Path) -> CLIPVisionConfig:
    file = vision / "config.json"
    family = read_object(file).get("model_type")
    if family == "clip":
        return CLIPConfig.from_pretrained(vision, local_files_only=True).vision_config
    if family == "clip_vision_model":
        return CLIPVisionConfig.from_pretrained(vision, local_files_only=True)
    raise _unsupported(file, "model_type", family, _either(("clip", "clip_vision_model")))


def _check_tower(file: Path, raw: Mapping[str, Any], vision: Path, tower: CLIPVisionConfig) -> None:
    """Check that the CLIP model in ``vision`` is the one that the checkpoint was trained with."""
    name, width = raw["mm_vision_tower"], raw["mm_hidden_size"]
    wanted = f"expected the CLIP model that it names, mm_vision_tower={name}"
    if tower.hidden_size != width:
        raise UserError(
            f"{vision}: its vision tower is {tower.hidden_size} wide, but {file} has mm_hidden_size={width}; "
            f"{wanted}"
        )
    # only the name says patch size and resolution, as clip-vit-large-patch14-336 does; the default is 224
    named = re.search(r"(?:^|/)clip-vit-[a-z]+-patch(\d+)(?:-(\d+))?/?$", str(name))
    if named and (tower.patch_size, tower.image_size) != (int(named[1]), int(named[2] or 224)):
        raise UserError(
            f"{vision}: its vision tower has patches of {tower.patch_size} in images of {tower.image_size} "
            f"pixels, which does not match {file}; {wanted}"
        )


def _pinpoints(file: Path, raw: Mapping[str, Any], size: int) -> list[list[int]]:
    """Return grids as (height, width), in order: of two that fit equally well, the first is used."""
    pairs = raw.get("image_grid_pinpoints")
    if not isinstance(pairs, list) or not pairs or not all(_is_grid(pair, size) for pair in pairs):
        expected = f"a list of [width, height], in multiples of the CLIP model's {size} pixels"
        raise _unsupported(file, "image_grid_pinpoints", pairs, expected)
    return [[height, width] for width, height in pairs]


def _is_grid(pair: object, size: int) -> bool:
    return (
        isinstance(pair, list)
        and len(pair) == 2
        and all(isinstance(side, int) and side > 0 and side % size == 0 for side in pair)
    )


def _architecture(config: LlavaConfig | LlavaNextConfig) -> Any:
    if config.model_type == "llava_next":
        return LlavaNextForConditionalGeneration
    return LlavaForConditionalGeneration


def _renamed(name: str) -> str:
    for pattern, replacement in _KEY_MAPPING.items():
        name = re.sub(pattern, replacement, name)
    return name


def _tower_names(vision: Path, names: Iterable[str]) -> dict[str, str]:
    """Map names of the vision tower's tensors in a CLIP folder to names inside the tower."""
    names = [name for name in names if not _IGNORED.search(name)]
    inside = [name for name in names if name.startswith("vision_model.")]
    return {name: name.removeprefix("vision_model.") for name in inside or names}


def _compare(folder: Path, vision: Path, config: LlavaConfig | LlavaNextConfig) -> bool:
    """Raise unless headers and architecture match; return whether the checkpoint has the vision tower."""
    with torch.device("meta"):
        model = _architecture(config)(config)
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    check_weights(f"model.path={folder}", folder)
    found = {_renamed(n): shape for n, shape in tensor_shapes(folder).items() if not _IGNORED.search(n)}
    has_tower = any(name.startswith(_TOWER) for name in found)
    if not has_tower:
        shapes = tensor_shapes(vision)
        tower = {_TOWER + inside: shapes[name] for name, inside in _tower_names(vision, shapes).items()}
        _compare_shapes(vision, {n: wanted.pop(n) for n in list(wanted) if n.startswith(_TOWER)}, tower)
    _compare_shapes(folder, wanted, found)
    return has_tower


def _compare_shapes(
    folder: Path, wanted: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]]
) -> None:
    shared = wanted.keys() & found.keys()
    other = [f"{n} {list(found[n])} instead of {list(wanted[n])}" for n in shared if found[n] != wanted[n]]
    check_names(folder, wanted.keys() - shared, found.keys() - shared, other)
