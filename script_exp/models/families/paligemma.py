"""PaliGemma 1 and 2: one square crop, SigLIP, one linear layer; all tokens of a prompt see each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import SiglipImageProcessorPil

from script_exp.models.families.crops import one_tensor
from script_exp.models.families.llava import LlavaAdapter
from script_exp.models.families.llava_tower import square_processor
from script_exp.models.families.tower_read import SIGLIP, check_kind
from script_exp.models.rules import PruningRules


class PaliGemmaAdapter(LlavaAdapter):
    """``PaliGemmaForConditionalGeneration``.

    ``token_type_ids`` of 0 make the whole prompt one block without causality, so that visual tokens see the
    question. Positions begin at 1.
    """

    shrinks = False
    sees_ahead = True
    adds_start = False  # it stands behind the images
    conversations = ("paligemma", "chat_template")
    on_host = ()
    default_rules = PruningRules(relevance_sign=1)

    @classmethod
    def check_config(cls, config: Any) -> None:
        check_kind(config, SIGLIP)

    @classmethod
    def load_image_processor(cls, folder: Path) -> Any:
        """Load the checkpoint's own processor, which stretches pictures to a square."""
        return super(LlavaAdapter, cls).load_image_processor(folder)

    def encoder_outputs(self, features: list[Tensor], deep: list[Tensor]) -> dict[str, Any]:
        return {"mm_encoder_outputs": {self.modality: one_tensor(features)}}

    def more_arguments(self, ids: Tensor) -> dict[str, Tensor]:
        return {"token_type_ids": torch.zeros_like(ids)}

    def forward_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Begin positions at 1: ``generate`` does so itself, and ``forward`` only where none are given."""
        if "position_ids" not in arguments:
            return arguments
        return arguments | {"position_ids": arguments["position_ids"] + 1}

    def blocks(self, arguments: dict[str, Any]) -> Tensor:
        return torch.where(arguments["attention_mask"].bool(), 0, -1)

    @classmethod
    def projector_operations(cls, config: Any, patches: int) -> int:
        return int(2 * patches * config.vision_config.hidden_size * config.projection_dim)

    @classmethod
    def random_image_processor(cls, config: Any) -> Any:
        return square_processor(SiglipImageProcessorPil, config.vision_config)
