"""Floating-point operations of one prefill, 2 per multiply-accumulate, by stage.

Only matrix products count, as in ``torch.utils.flop_counter``; attention in full, not halved for causality
nor cut to a sliding window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from script_exp.errors import SettingError
from script_exp.measure.tower_flops import patches_of, tower_operations
from script_exp.models.families.registry import ADAPTERS

_CLIP, _SIGLIP, _QWEN = "clip_vision_model", "siglip_vision_model", "qwen2_5_vl_vision"


@dataclass(frozen=True)
class PromptShape:
    """The sizes of one prompt that determine its operations.

    Attributes:
        crops: image crops through the vision tower.
        visual_by_layer: visual tokens that each decoder layer sees.
        text: all other tokens of the prompt.
        query: tokens through the query encoder; 0 if it does not run.
        grids: (t, h, w) of every image in patches, for towers that take pictures of any size, not crops.
        frames: video frames through the vision tower, besides ``crops``.
        patches: patches of a crop that was made smaller; None for crops as they are.
    """

    crops: int
    visual_by_layer: tuple[int, ...]
    text: int
    query: int
    grids: tuple[tuple[int, int, int], ...] = ()
    frames: int = 0
    patches: int | None = None


def decoder_layer(config: Any, tokens: int) -> int:
    """Count one decoder layer at ``tokens`` positions: q, k, v, o, gated MLP, attention.

    A layer of a mixture of experts has a router, and a token runs through some of its experts.
    """
    d, head = config.hidden_size, head_dim(config)
    q, kv = config.num_attention_heads * head, config.num_key_value_heads * head
    experts = getattr(config, "num_local_experts", None)
    mlp = 3 * d * config.intermediate_size
    if experts:
        mlp = d * experts + config.num_experts_per_tok * 3 * d * config.moe_intermediate_size
    return int(2 * tokens * (2 * d * q + 2 * d * kv + mlp) + 4 * tokens**2 * q)


def decoder(config: Any, lengths: Sequence[int]) -> int:
    """Count all decoder layers, at ``lengths[i]`` positions in layer i.

    Raises:
        SettingError: if only some layers have experts.
    """
    some = getattr(config, "mlp_only_layers", None) or getattr(config, "decoder_sparse_step", 1) != 1
    if getattr(config, "num_local_experts", None) and some:
        expected = "none, with decoder_sparse_step=1: all layers with experts"
        raise SettingError("text_config.mlp_only_layers", config.mlp_only_layers, expected)
    return sum(decoder_layer(config, tokens) for tokens in lengths)


def lm_head(config: Any) -> int:
    """Count the logits of one position."""
    return 2 * int(config.hidden_size) * int(config.vocab_size)


def attention_row(config: Any, tokens: int) -> int:
    """Count the attention row that a layer pruner reads: q k^T of the last position over all heads."""
    return 2 * tokens * int(config.num_attention_heads) * head_dim(config)


def vision_stages(
    config: Any,
    crops: int,
    grids: Sequence[tuple[int, int, int]] = (),
    *,
    frames: int = 0,
    tower_layers: int | None = None,
    patches: int | None = None,
) -> dict[str, int]:
    """Count the ``vision_tower`` and the ``projector`` of any family.

    Args:
        config: the multimodal model's config.
        crops: image crops through the tower; where it takes pictures of any size, ``grids`` says the cost.
        grids: (t, h, w) of every image in patches, before merging, as in ``image_grid_thw``; only there.
        frames: video frames through the tower, which LLaVA-NeXT-Video pools before the projector; where
            ``grids`` count, a video is one more entry of them.
        tower_layers: as for :func:`vision_tower`; for Qwen2.5-VL all run.
        patches: as for :func:`vision_tower`; for Qwen2.5-VL, ``grids`` says it.

    Raises:
        SettingError: if there is no formula for the vision tower's architecture.
        ValueError: if images of any size come without their grids.
    """
    vision, family = config.vision_config, ADAPTERS.get(config.model_type)
    shape = None if family is None else family.tower_shape(config)
    if family is not None and shape is not None:
        if shape.crop is None and (crops or frames) and not grids:
            raise ValueError(f"crops={crops}, frames={frames}: expected the (t, h, w) of every image")
        return {
            "vision_tower": tower_operations(shape, crops + frames, grids),
            "projector": family.projector_operations(config, patches_of(shape, crops + frames, grids)),
        }
    if vision.model_type != _QWEN:
        return {
            "vision_tower": vision_tower(vision, crops + frames, tower_layers, patches),
            "projector": projector(config, crops, frames, patches),
        }
    if (crops or frames) and not grids:
        raise ValueError(f"crops={crops}, frames={frames}, grids=(): expected the (t, h, w) of every image")
    return {"vision_tower": qwen_vision(vision, grids), "projector": qwen_merger(vision, grids)}


def vision_tower(config: Any, crops: int, layers: int | None = None, patches: int | None = None) -> int:
    """Count a CLIP or SigLIP vision tower: patch convolution, attention, MLP.

    SigLIP has no class token. Its pooling head, if the config has one, runs although LLaVA reads the patches.

    Args:
        config: the config of the tower.
        crops: crops through the tower.
        layers: number of layers that run. This framework runs
            :func:`script_exp.models.tower_layers.used_tower_layers`; None for all, as transformers runs.
        patches: patches of a crop; None for those of the tower's own size.
    """
    patches = _patches(config) if patches is None else patches
    one = 2 * patches * config.num_channels * config.patch_size**2 * config.hidden_size
    layers = config.num_hidden_layers if layers is None else layers
    one += layers * _encoder_layer(config, _tower_tokens(config, patches))
    if config.model_type == _SIGLIP and config.vision_use_head:
        one += _pooling_head(config, patches)
    return int(crops * one)


def projector(config: Any, crops: int, frames: int = 0, patches: int | None = None) -> int:
    """Count LLaVA's two-layer projector on the tokens that ``vision_feature_select_strategy`` selects.

    LLaVA-NeXT-Video pools a frame's tokens before the projector, LLaVA-OneVision after it.
    """
    layers = getattr(config, "vision_feature_layer", None)
    if layers is None:
        raise SettingError("model_type", config.model_type, "a LLaVA: no other projector has a formula")
    d = config.text_config.hidden_size
    v = config.vision_config.hidden_size * (1 if isinstance(layers, int) else len(layers))
    return int(2 * _projected_tokens(config, crops, frames, patches) * (v * d + d * d))


def qwen_vision(config: Any, grids: Sequence[tuple[int, int, int]]) -> int:
    """Count Qwen2.5-VL's vision tower without the merger: patch embedding, gated MLP, attention.

    Attention never crosses frames. It spans a whole frame in the layers ``fullatt_block_indexes``. In all
    other layers it spans a window of ``window_size`` pixels, truncated at the right and bottom edges.

    Args:
        config: the config of the tower.
        grids: (t, h, w) of every image in patches, before merging.
    """
    d, m = config.hidden_size, config.intermediate_size
    full = len(set(config.fullatt_block_indexes) & set(range(config.depth)))
    merge = config.spatial_merge_size
    side = config.window_size // merge // config.patch_size * merge
    total = 0
    for t, h, w in grids:
        patches = t * h * w
        total += 2 * patches * config.in_channels * config.temporal_patch_size * config.patch_size**2 * d
        total += 2 * config.depth * patches * (4 * d * d + 3 * d * m)
        windows = _squares(h, side) * _squares(w, side)
        total += 4 * d * t * (full * (h * w) ** 2 + (config.depth - full) * windows)
    return int(total)


def qwen_merger(config: Any, grids: Sequence[tuple[int, int, int]]) -> int:
    """Count Qwen2.5-VL's patch merger: two layers on every square of ``spatial_merge_size`` ** 2 patches."""
    group = config.spatial_merge_size**2
    width = config.hidden_size * group
    merged = sum(t * h * w for t, h, w in grids) // group
    return int(2 * merged * (width * width + width * config.out_hidden_size))


def query_encoder(text_config: Any, joint_width: int, vision_config: Any, patches: int, tokens: int) -> int:
    """Count CLIP's text tower on ``tokens`` positions, its projection, and the projection of ``patches``.

    A question longer than the tower's context runs as several segments, the last one padded.
    """
    context = text_config.max_position_embeddings
    segment = text_config.num_hidden_layers * _encoder_layer(text_config, min(tokens, context))
    segment += 2 * text_config.hidden_size * joint_width
    return int(math.ceil(tokens / context) * segment + 2 * patches * vision_config.hidden_size * joint_width)


def prefill_stages(
    config: Any,
    shape: PromptShape,
    *,
    tower_layers: int | None = None,
    text_encoder: Any = None,
    joint_width: int = 0,
    pruner: int = 0,
    layer: int | Sequence[int] = 0,
) -> dict[str, int]:
    """Count the operations up to the first logits by stage; their sum is the prefill total.

    Args:
        config: the multimodal model's config.
        shape: sizes of the prompt.
        tower_layers: as for :func:`vision_tower`.
        text_encoder: config of the query encoder's text tower, if it runs.
        joint_width: e, width of the joint space.
        pruner: operations of the pruner, from :class:`PrunerOperations`.
        layer: the layer before which a layer pruner drops tokens by the last token's row, or all such layers;
            0 for none.
    """
    lengths = [visual + shape.text for visual in shape.visual_by_layer]
    stages = {
        **vision_stages(
            config,
            shape.crops,
            shape.grids,
            frames=shape.frames,
            tower_layers=tower_layers,
            patches=shape.patches,
        ),
        "query_encoder": 0,
        "pruner": pruner,
        "llm": decoder(config.text_config, lengths),
        "lm_head": lm_head(config.text_config),
    }
    if shape.query:
        patches = _projected_tokens(config, shape.crops, shape.frames)
        stages["query_encoder"] = query_encoder(
            text_encoder, joint_width, config.vision_config, patches, shape.query
        )
    for first in filter(None, [layer] if isinstance(layer, int) else layer):
        stages["pruner"] += attention_row(config.text_config, lengths[first - 1])
    return stages


def head_dim(config: Any) -> int:
    """Return the width of an attention head."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _encoder_layer(config: Any, tokens: int) -> int:
    """Count one layer of a CLIP or SigLIP tower: q, k, v, o, two-layer MLP, attention."""
    d, m = config.hidden_size, config.intermediate_size
    return int(2 * tokens * (4 * d * d + 2 * d * m) + 4 * tokens**2 * d)


def _pooling_head(config: Any, tokens: int) -> int:
    """Count SigLIP's pooling head: one learned query attends to the tokens, then a two-layer MLP."""
    d, m = config.hidden_size, config.intermediate_size
    return int(2 * (2 * d * d + 2 * d * m) + 2 * tokens * 2 * d * d + 4 * tokens * d)


def _patches(config: Any) -> int:
    """Return the patches of one crop."""
    if config.model_type not in (_CLIP, _SIGLIP):
        known = f"{_CLIP}, {_SIGLIP} or {_QWEN}"
        raise SettingError("vision_config.model_type", config.model_type, known)
    return int(config.image_size // config.patch_size) ** 2


def _tower_tokens(config: Any, patches: int) -> int:
    """Return the tokens of one crop inside the tower: the patches and CLIP's class token."""
    return patches + int(config.model_type == _CLIP)


def _projected_tokens(config: Any, crops: int, frames: int, patches: int | None = None) -> int:
    """Return the number of tokens that enter LLaVA's projector."""
    vision = config.vision_config
    tokens = _tower_tokens(vision, _patches(vision) if patches is None else patches)
    tokens -= int(config.vision_feature_select_strategy == "default")
    pooled = _pooled(config, tokens) if config.model_type == "llava_next_video" else tokens
    return crops * tokens + frames * pooled


def _pooled(config: Any, tokens: int) -> int:
    """Return the tokens of one frame after LLaVA-NeXT-Video's pooling."""
    if config.spatial_pool_mode not in ("average", "max"):
        raise SettingError("spatial_pool_mode", config.spatial_pool_mode, "average or max")
    return int(math.isqrt(tokens) // config.spatial_pool_stride) ** 2


def _squares(length: int, window: int) -> int:
    """Return the sum of squared window lengths when ``length`` is split; the last window may be shorter."""
    return int(length // window * window**2 + (length % window) ** 2)
