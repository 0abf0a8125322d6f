"""LLaVA-1.5: one crop per image, CLIP tower, two-layer projector."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from script_exp.models.images import EncodedImage, ModelAdapter
from script_exp.models.query_encoder import ClipQueryEncoder
from script_exp.pruners.base import VisualTokens


class LlavaAdapter(ModelAdapter):
    """``LlavaForConditionalGeneration``."""

    @property
    def llm(self) -> Any:
        return self.model.model.language_model

    @property
    def tower_width(self) -> int:
        return int(self.model.config.vision_config.hidden_size)

    @property
    def image_token_id(self) -> int:
        return int(self.model.config.image_token_id)

    def encode_images(
        self, inputs: dict[str, Tensor], encoder: ClipQueryEncoder | None
    ) -> list[EncodedImage]:
        core = self.model.model
        seen: dict[str, Tensor] = {}

        def keep(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            seen["tower"], seen["projected"] = args[0], output

        handle = core.multi_modal_projector.register_forward_hook(keep)
        try:
            packed = core.get_image_features(inputs["pixel_values"], return_dict=True).pooler_output
        finally:
            handle.remove()
        joint = None
        if encoder is not None:
            tower = getattr(core.vision_tower, "vision_model", core.vision_tower)
            joint = encoder.embed_patches(tower.post_layernorm(seen["tower"]))
        return [
            EncodedImage(
                VisualTokens(
                    projected=seen["projected"][i : i + 1],
                    joint=None if joint is None else joint[i : i + 1],
                    tower=seen["tower"][i : i + 1],
                    project=core.multi_modal_projector,
                ),
                packed[i],
            )
            for i in range(len(packed))
        ]

    def encoder_outputs(self, features: list[Tensor]) -> dict[str, Any]:
        return {"mm_encoder_outputs": {"image": BaseModelOutputWithPooling(pooler_output=features)}}
