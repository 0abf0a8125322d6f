"""Floating-point operations of one prefill, 2 per multiply-accumulate, by stage.

Only matrix products count, as in ``torch.utils.flop_counter``; attention in full, not halved for causality
nor cut to a sliding window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from script_exp.measure.linear_attention import linear_attention
from script_exp.measure.tower_flops import patches_of, tower_operations
from script_exp.models.families.traits import FamilyTraits
from script_exp.models.layer_kinds import LINEAR, experts_of, kind_of


@dataclass(frozen=True)
class PromptShape:
    """The sizes of one prompt that determine its operations.

    Attributes:
        crops: image crops or video frames through the vision tower.
        visual_by_layer: visual tokens that each decoder layer sees.
        text: all other tokens of the prompt.
        query: tokens through the query encoder; 0 if it does not run.
        grids: (t, h, w) of every image in patches, for towers that take pictures of any size, not crops.
        patches: patches of a crop that was made smaller; None for crops as they are.
    """

    crops: int
    visual_by_layer: tuple[int, ...]
    text: int
    query: int
    grids: tuple[tuple[int, int, int], ...] = ()
    patches: int | None = None


def attention(config: Any, tokens: int, *, gated: bool = False) -> int:
    """Count q, k, v, o and attention of one decoder layer at ``tokens`` positions.

    ``gated`` as in :func:`decoder`.
    """
    d, head = config.hidden_size, head_dim(config)
    q, kv = config.num_attention_heads * head, config.num_key_value_heads * head
    return int(2 * tokens * d * ((3 if gated else 2) * q + 2 * kv) + 4 * tokens**2 * q)


def mlp(config: Any, tokens: int, layer: int) -> int:
    """Count the gated MLP of decoder layer ``layer`` at ``tokens`` positions.

    A layer of a mixture of experts has a router, and a token runs through some of its experts, and through
    one that all share and its gate, if there is one.
    """
    d, experts = config.hidden_size, experts_of(config, layer)
    if not experts:
        return int(2 * tokens * 3 * d * config.intermediate_size)
    shared = getattr(config, "shared_expert_intermediate_size", 0)
    width = config.num_experts_per_tok * config.moe_intermediate_size + shared
    return int(2 * tokens * d * (experts + 3 * width + bool(shared)))


def decoder(config: Any, lengths: Sequence[int], *, gated: bool = False) -> int:
    """Count all decoder layers, at ``lengths[i]`` positions in layer i.

    Args:
        config: config of the LLM.
        lengths: positions in each layer.
        gated: :attr:`FamilyTraits.gates_attention`.
    """
    total = 0
    for index, tokens in enumerate(lengths):
        linear = kind_of(config, index) == LINEAR
        total += linear_attention(config, tokens) if linear else attention(config, tokens, gated=gated)
        total += mlp(config, tokens, index)
    return total


def lm_head(config: Any) -> int:
    """Count the logits of one position."""
    return 2 * int(config.hidden_size) * int(config.vocab_size)


def attention_row(config: Any, tokens: int) -> int:
    """Count the attention row that a layer pruner reads: q k^T of the last position over all heads."""
    return 2 * tokens * int(config.num_attention_heads) * head_dim(config)


def vision_stages(
    family: type[FamilyTraits],
    config: Any,
    crops: int,
    grids: Sequence[tuple[int, int, int]] = (),
    *,
    tower_layers: int | None = None,
    patches: int | None = None,
) -> dict[str, int]:
    """Count the ``vision_tower`` and the ``projector``.

    Args:
        family: the model's adapter.
        config: the multimodal model's config.
        crops: crops or frames through the tower; where it takes any size, ``grids`` says the cost.
        grids: (t, h, w) of every image or video in patches, before merging, as in ``image_grid_thw``; only
            there.
        tower_layers: number of layers that run. This framework runs
            :func:`script_exp.models.tower_layers.used_tower_layers`; None for all, as transformers runs.
        patches: patches of a crop; None for those of the tower's own size.

    Raises:
        ValueError: if images of any size come without their grids.
    """
    shape = family.tower_shape(config)
    if shape.crop is None and crops and not grids:
        raise ValueError(f"crops={crops}: expected the (t, h, w) of every image")
    if tower_layers is not None:
        shape = replace(shape, layers=tower_layers)
    if patches is not None:
        shape = replace(shape, crop=patches)
    return {
        "vision_tower": tower_operations(shape, crops, grids),
        "projector": family.projector_operations(config, patches_of(shape, crops, grids)),
    }


def query_encoder(text_config: Any, joint_width: int, vision_config: Any, patches: int, tokens: int) -> int:
    """Count CLIP's text tower on ``tokens`` positions, its projection, and the projection of ``patches``.

    A question longer than the tower's context runs as several segments, the last one padded.
    """
    context = text_config.max_position_embeddings
    segment = text_config.num_hidden_layers * _encoder_layer(text_config, min(tokens, context))
    segment += 2 * text_config.hidden_size * joint_width
    return int(math.ceil(tokens / context) * segment + 2 * patches * vision_config.hidden_size * joint_width)


def prefill_stages(
    family: type[FamilyTraits],
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
        family: the model's adapter.
        config: the multimodal model's config.
        shape: sizes of the prompt.
        tower_layers: as for :func:`vision_stages`.
        text_encoder: config of the query encoder's text tower, if it runs.
        joint_width: e, width of the joint space.
        pruner: operations of the pruner, from :class:`PrunerOperations`.
        layer: the layer before which a layer pruner drops tokens by the last token's row, or all such layers;
            0 for none.
    """
    lengths = [visual + shape.text for visual in shape.visual_by_layer]
    stages = {
        **vision_stages(
            family, config, shape.crops, shape.grids, tower_layers=tower_layers, patches=shape.patches
        ),
        "query_encoder": 0,
        "pruner": pruner,
        "llm": decoder(config.text_config, lengths, gated=family.gates_attention),
        "lm_head": lm_head(config.text_config),
    }
    if shape.query:  # CLIP's text tower, so that a tower for crops of one size is beside it
        patches = shape.crops * (family.tokens_per_crop(config) or 0)
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
    """Count one layer of CLIP's text tower: q, k, v, o, two-layer MLP, attention."""
    d, m = config.hidden_size, config.intermediate_size
    return int(2 * tokens * (4 * d * d + 2 * d * m) + 4 * tokens**2 * d)
