"""Gemma 3: one square crop, SigLIP, 4 x 4 average pooling; the tokens of an image see each other."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import Gemma3ImageProcessorPil

from script_exp.errors import SettingError
from script_exp.models.families.adapter import EncodedImage, ModelAdapter, Visual, projector_seen, square_grid
from script_exp.models.families.crops import one_tensor
from script_exp.models.families.tiles import merged_signals
from script_exp.models.families.tower_read import SIGLIP, check_kind
from script_exp.models.query_encoder import QueryEncoder
from script_exp.models.rules import PruningRules
from script_exp.models.tower_shape import TowerShape
from script_exp.models.tower_signals import by_image
from script_exp.pruners.contract.signals import Signal
from script_exp.pruners.contract.visual_tokens import VisualTokens

_START, _END = "<start_of_image>", "<end_of_image>"


class Gemma3Adapter(ModelAdapter):
    """``Gemma3ForConditionalGeneration`` without pan and scan, which its processor leaves off.

    ``token_type_ids`` of 1 make every run of placeholders one block without causality; what is left of an
    image is still one run. Five of six layers have a sliding window, which also ends what a block sees.
    """

    sees_ahead = True
    blocks_in_window = True
    adds_words = True
    default_rules = PruningRules(relevance_sign=1)

    @classmethod
    def check_config(cls, config: Any) -> None:
        check_kind(config, SIGLIP)
        if config.text_config.use_bidirectional_attention:
            expected = "false: the text of an answer is causal"
            raise SettingError("text_config.use_bidirectional_attention", True, expected)
        tokens, patches = config.mm_tokens_per_image, cls.tower_shape(config).crop_patches
        side, every = math.isqrt(tokens), math.isqrt(patches)
        if side**2 != tokens or every % side:
            expected = f"the square of a divisor of {every}, the patches along a picture"
            raise SettingError("mm_tokens_per_image", tokens, expected)

    @classmethod
    def mark_of(cls, tokenizer: Any, config: Any) -> str:
        return str(tokenizer.convert_ids_to_tokens(config.boi_token_id))

    @classmethod
    def words_of(cls, config: Any) -> Mapping[str, int]:
        return {_START: config.boi_token_id, _END: config.eoi_token_id}

    def process(self, image_processor: Any, visuals: Sequence[Sequence[Visual]]) -> dict[str, Tensor]:
        flat = [visual for row in visuals for visual in row]
        if not flat:
            return {}
        given = image_processor(flat, do_pan_and_scan=False, return_tensors="pt")
        return {"pixel_values": given["pixel_values"]}

    @classmethod
    def tokens_per_crop(cls, config: Any) -> int:
        return int(config.mm_tokens_per_image)

    @classmethod
    def _merge(cls, config: Any) -> int:
        """Return the patches along a token."""
        return math.isqrt(cls.tower_shape(config).crop_patches // cls.tokens_per_crop(config))

    def lengths(self, inputs: dict[str, Tensor]) -> list[int]:
        return [self.tokens_per_crop(self.model.config)] * len(inputs["pixel_values"])

    def texts(self, inputs: dict[str, Tensor], placeholder: str) -> list[str]:
        return [f"\n\n{_START}{placeholder * length}{_END}\n\n" for length in self.lengths(inputs)]

    def encode_images(
        self, inputs: dict[str, Tensor], encoder: QueryEncoder | None, signals: Collection[Signal] = ()
    ) -> list[EncodedImage]:
        core = self.model.model
        norm = core.multi_modal_projector.mm_soft_emb_norm  # what was pooled goes in
        with projector_seen(norm) as seen, self.reading(signals) as found:
            packed = core.get_image_features(inputs["pixel_values"], return_dict=True).pooler_output
        joint = None if encoder is None else encoder.embed_patches(seen["tower"], packed)
        read = by_image(merged_signals(found, self._merge(self.model.config)), [1] * len(packed))
        source = torch.arange(packed.shape[1], device=packed.device)
        images = []
        for i, own in enumerate(read):
            visual = VisualTokens(
                packed[i : i + 1],
                None if joint is None else joint[i : i + 1],
                seen["tower"][i : i + 1],
                self._project,
                signals=own,
                grid=square_grid(len(source)),
            )
            images.append(EncodedImage(visual, packed[i], source, crops=1, budget_crops=1))
        return images

    def _project(self, pooled: Tensor) -> Tensor:
        """Return what the projector makes of pooled patches."""
        projector = self.model.model.multi_modal_projector
        projected: Tensor = projector.mm_soft_emb_norm(pooled) @ projector.mm_input_projection_weight
        return projected.type_as(pooled)

    def encoder_outputs(self, features: list[Tensor], deep: list[Tensor]) -> dict[str, Any]:
        return {"mm_encoder_outputs": {self.modality: one_tensor(features)}}

    def more_arguments(self, ids: Tensor) -> dict[str, Tensor]:
        return {"token_type_ids": (ids == self.placeholder_id).long()}

    def blocks(self, arguments: dict[str, Any]) -> Tensor:
        visual = arguments["token_type_ids"].bool()
        begins = visual & ~functional.pad(visual, (1, 0))[:, :-1]
        return torch.where(visual, begins.cumsum(dim=1) - 1, -1)

    @classmethod
    def tower_shape(cls, config: Any) -> TowerShape:
        return TowerShape.of_square(config.vision_config)

    @classmethod
    def projector_operations(cls, config: Any, patches: int) -> int:
        tokens = patches // cls._merge(config) ** 2
        return int(2 * tokens * config.vision_config.hidden_size * config.text_config.hidden_size)

    @classmethod
    def random_image_processor(cls, config: Any) -> Any:
        side = config.vision_config.image_size
        return Gemma3ImageProcessorPil(size={"height": side, "width": side})
