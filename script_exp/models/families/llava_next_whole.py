"""LLaVA-NeXT without unpadding: every token of every crop, no newline tokens."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from script_exp.models.families.adapter import EncodedImage
from script_exp.models.families.llava_next import LlavaNextAdapter
from script_exp.pruners.contract.visual_tokens import VisualTokens


class LlavaNextWholeAdapter(LlavaNextAdapter):
    """``LlavaNextForConditionalGeneration`` as the official code of Script and CDPruner runs it.

    Both set ``mm_patch_merge_type`` to "spatial" instead of "spatial_unpad": tokens in the padding of the
    picture stay, rows do not end with a newline token, and every method keeps exactly k tokens of each crop.
    Their unpruned model has 2,880 tokens and is worse than the model as trained.
    """

    has_separators = False

    def _image(self, visual: VisualTokens, size: Tensor, packed: Tensor) -> EncodedImage:
        return super()._image(visual, size, self._pack(visual.projected, size, packed))

    def _pack(self, features: Tensor, size: Tensor, newline: Tensor) -> Tensor:
        """Pack into (crops * patches, width): the base crop, then the picture's rows from the other crops."""
        crops, patches, width = features.shape
        rows, columns = self._tiles(size)
        side = math.isqrt(patches)
        tiles = features[1:].view(rows, columns, side, side, width).transpose(1, 2)
        return torch.cat([features[0], tiles.reshape((crops - 1) * patches, width)])
