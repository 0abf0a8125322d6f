"""The question and the image patches in CLIP's joint space, with the text tower alone.

The vision weights are not loaded a second time: patches are embedded from the multimodal model's own tower,
as visual_projection(post_layernorm(hidden_states[layer])) in float32.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import AutoTokenizer, CLIPConfig, CLIPTextModelWithProjection

from script_exp.errors import UserError

_TEXT_PREFIXES = ("text_model.", "text_projection.")
_VISUAL_PROJECTION = "visual_projection.weight"


class ClipQueryEncoder:
    """CLIP's text tower and visual projection.

    Attributes:
        width: e, the width of the joint space.
        context: tokens that the text tower takes; a longer question is cut off there.
    """

    def __init__(self, text: Any, tokenizer: Any, visual_projection: Tensor) -> None:
        self._text, self._tokenizer, self._visual_projection = text, tokenizer, visual_projection
        self.config = text.config
        self.width = visual_projection.shape[0]
        self.context: int = text.config.max_position_embeddings

    @classmethod
    def from_folder(cls, folder: Path, tower_width: int, device: torch.device) -> ClipQueryEncoder:
        """Load the text tower and projections of the CLIP checkpoint in ``folder``, in float32.

        Args:
            folder: a folder as ``CLIPModel.save_pretrained`` writes it; vision weights in it are not read.
            tower_width: width of the multimodal model's vision tower, which the projection has to fit.
            device: where the weights go.

        Raises:
            UserError: if files are missing or the projection does not fit the tower.
        """
        weights = folder / "model.safetensors"
        if not weights.is_file():
            raise UserError(
                f"model.clip={folder}: no model.safetensors there; expected a folder with a CLIP checkpoint"
            )
        with safe_open(weights, framework="pt") as tensors:
            names = [name for name in tensors.keys() if name.startswith(_TEXT_PREFIXES)]  # noqa: SIM118
            if _VISUAL_PROJECTION not in tensors.keys():  # noqa: SIM118
                raise UserError(
                    f"model.clip={folder}: {weights} has no {_VISUAL_PROJECTION}; expected a whole CLIP"
                )
            state = {name: tensors.get_tensor(name) for name in names}
            projection = tensors.get_tensor(_VISUAL_PROJECTION)
        if projection.shape[1] != tower_width:
            raise UserError(
                f"model.clip={folder}: its visual projection takes {projection.shape[1]} features, but the "
                f"model's vision tower has {tower_width}; expected the CLIP that this tower came from"
            )
        config = CLIPConfig.from_pretrained(folder).text_config
        text, report = CLIPTextModelWithProjection.from_pretrained(
            None,
            config=config,
            state_dict=state,
            dtype=torch.float32,
            local_files_only=True,
            output_loading_info=True,
        )
        if report["missing_keys"]:
            raise UserError(f"model.clip={folder}: the text tower lacks {sorted(report['missing_keys'])}")
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return cls(text.eval().to(device), tokenizer, projection.float().to(device))

    def embed_text(self, text: str) -> Tensor:
        """Embedding (1, e) of a question; one segment, longer questions are truncated to the context."""
        tokens = self._tokenizer(text, truncation=True, max_length=self.context, return_tensors="pt")
        ids = tokens["input_ids"].to(self._visual_projection.device)
        embeddings: Tensor = self._text(input_ids=ids, attention_mask=torch.ones_like(ids)).text_embeds
        return embeddings

    def embed_patches(self, normed: Tensor) -> Tensor:
        """Patch embeddings (crops, n, e) from tower features after the post-layernorm (crops, n, v)."""
        return nn.functional.linear(normed.float(), self._visual_projection)

    def token_count(self, text: str) -> int:
        """Tokens that :meth:`embed_text` runs on."""
        return min(self.context, len(self._tokenizer(text)["input_ids"]))
