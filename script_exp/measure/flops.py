"""Floating-point operations of one prefill, 2 per multiply-accumulate, by stage.

The formulas count matrix multiplications only, as ``torch.utils.flop_counter`` does; the tests compare the
two exactly. Attention is counted in full, without halving for causality.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.flop_counter import FlopCounterMode

from script_exp.pruners.base import Pruner, Query, VisualTokens
from script_exp.pruners.layer import LayerPruner


@dataclass(frozen=True)
class PromptShape:
    """Sizes of one prompt that the operations depend on.

    Attributes:
        crops: images through the vision tower.
        visual_by_layer: visual tokens that each decoder layer sees.
        text: all other tokens of the prompt.
        query: tokens through the query encoder; 0 if it does not run.
    """

    crops: int
    visual_by_layer: tuple[int, ...]
    text: int
    query: int


def decoder_layer(config: Any, tokens: int) -> int:
    """One decoder layer at ``tokens`` positions: q, k, v, o, gated MLP, attention."""
    d, m = config.hidden_size, config.intermediate_size
    head = getattr(config, "head_dim", None) or d // config.num_attention_heads
    q, kv = config.num_attention_heads * head, config.num_key_value_heads * head
    return int(2 * tokens * (2 * d * q + 2 * d * kv + 3 * d * m) + 4 * tokens**2 * q)


def decoder(config: Any, lengths: Sequence[int]) -> int:
    """All decoder layers, at ``lengths[i]`` positions in layer i."""
    return sum(decoder_layer(config, tokens) for tokens in lengths)


def lm_head(config: Any) -> int:
    """Logits of one position."""
    return 2 * int(config.hidden_size) * int(config.vocab_size)


def attention_row(config: Any, tokens: int) -> int:
    """The one attention row that a layer pruner reads: q k^T of the last position over all heads."""
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * tokens * int(config.num_attention_heads) * int(head)


def vision_tower(config: Any, crops: int) -> int:
    """CLIP's vision tower, every layer as transformers runs it: patch convolution, attention, MLP."""
    d, patches = config.hidden_size, (config.image_size // config.patch_size) ** 2
    convolution = 2 * patches * config.num_channels * config.patch_size**2 * d
    return int(crops * (convolution + config.num_hidden_layers * _encoder_layer(config, patches + 1)))


def projector(config: Any, crops: int) -> int:
    """LLaVA's two-layer projector on every patch."""
    v, d = config.vision_config.hidden_size, config.text_config.hidden_size
    patches = (config.vision_config.image_size // config.vision_config.patch_size) ** 2
    return int(crops * 2 * patches * (v * d + d * d))


def query_encoder(text_config: Any, joint_width: int, vision_config: Any, crops: int, tokens: int) -> int:
    """CLIP's text tower on ``tokens`` positions, its projection, and the projection of every patch."""
    layers = text_config.num_hidden_layers * _encoder_layer(text_config, tokens)
    patches = (vision_config.image_size // vision_config.patch_size) ** 2
    patch_projection = 2 * crops * patches * vision_config.hidden_size * joint_width
    return int(layers + 2 * text_config.hidden_size * joint_width + patch_projection)


def count_pruner(pruner: Pruner | LayerPruner, visual: VisualTokens, query: Query | None) -> int:
    """Operations of one call of a pruner, counted by running it (:func:`attention_row` for layer pruners)."""
    if isinstance(pruner, LayerPruner):
        return 0
    with FlopCounterMode(display=False) as counter:
        pruner(visual, query)
    return int(counter.get_total_flops())


def prefill_stages(
    config: Any,
    shape: PromptShape,
    *,
    text_encoder: Any = None,
    joint_width: int = 0,
    pruner: int = 0,
    layer: int = 0,
) -> dict[str, int]:
    """Operations up to the first logits by stage; their sum is the prefill total.

    Args:
        config: the multimodal model's config (LLaVA's layout).
        shape: sizes of the prompt.
        text_encoder: config of the query encoder's text tower, if it runs.
        joint_width: e, width of the joint space.
        pruner: operations of the pruner, from :func:`count_pruner`.
        layer: the layer before which a layer pruner drops tokens; 0 if there is none.
    """
    lengths = [visual + shape.text for visual in shape.visual_by_layer]
    stages = {
        "vision_tower": vision_tower(config.vision_config, shape.crops),
        "projector": projector(config, shape.crops),
        "query_encoder": 0,
        "pruner": pruner,
        "llm": decoder(config.text_config, lengths),
        "lm_head": lm_head(config.text_config),
    }
    if shape.query:
        stages["query_encoder"] = query_encoder(
            text_encoder, joint_width, config.vision_config, shape.crops, shape.query
        )
    if layer:
        stages["pruner"] += attention_row(config.text_config, lengths[layer - 1])
    return stages


def kv_cache_bytes(config: Any, lengths: Sequence[int], bytes_per_value: int) -> int:
    """Bytes of keys and values at ``lengths[i]`` positions in layer i."""
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * sum(lengths) * int(config.num_key_value_heads) * int(head) * bytes_per_value


def _encoder_layer(config: Any, tokens: int) -> int:
    """One layer of a CLIP tower: q, k, v, o, two-layer MLP, attention."""
    d, m = config.hidden_size, config.intermediate_size
    return int(2 * tokens * (4 * d * d + 2 * d * m) + 4 * tokens**2 * d)
