"""Tokenizer and image processor of checkpoints in LLaVA's original layout."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, normalizers
from transformers import (
    LlamaTokenizer,
    LlavaConfig,
    LlavaImageProcessorPil,
    LlavaNextConfig,
    LlavaNextImageProcessorPil,
)

from script_exp.errors import UserError
from script_exp.models.json_object import read_object

IMAGE_TOKEN = "<image>"


def original_tokenizer(folder: Path, config: LlavaConfig | LlavaNextConfig) -> LlamaTokenizer:
    """Load the tokenizer, with ``<image>`` as an additional token that has the placeholder's id.

    The original tokenizes the texts before and after ``<image>`` separately with sentencepiece, which puts a
    space in front of each: "<image>\\nWhat" becomes the placeholder, "▁", a newline, "What". This tokenizer
    does the same. It pads on the left with ``<unk>``, as batched decoding requires.

    Args:
        folder: the original checkpoint with its tokenizer.model or a tokenizer.json.
        config: from :func:`original_config`.

    Raises:
        UserError: if there is no tokenizer, sentencepiece is needed but not installed, or ``<image>`` gets a
            different id.
    """
    pieces = folder / "tokenizer.model"
    if (folder / "tokenizer.json").is_file():
        tokenizer = LlamaTokenizer.from_pretrained(folder, local_files_only=True)
    elif pieces.is_file():
        tokenizer = _from_sentencepiece(pieces)
    else:
        raise UserError(f"{folder} has no tokenizer; expected tokenizer.model or tokenizer.json")
    tokenizer.add_bos_token, tokenizer.padding_side = True, "left"
    tokenizer.pad_token = tokenizer.unk_token
    # transformers would put the space in front of the first text only
    tokenizer.backend_tokenizer.pre_tokenizer = None
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.add_tokens(AddedToken(IMAGE_TOKEN, special=True, normalized=False), special_tokens=True)
    token = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    if token != config.image_token_id:
        raise UserError(
            f"{folder}: its tokenizer gives {IMAGE_TOKEN} the id {token}; expected {config.image_token_id}, "
            "the vocab_size in config.json"
        )
    return tokenizer


def original_image_processor(
    config: LlavaConfig | LlavaNextConfig, vision: Path
) -> LlavaImageProcessorPil | LlavaNextImageProcessorPil:
    """Load the image processor: crops for v1.6; for v1.5 padding to a square with CLIP's mean color.

    v1.5 pads only if its config has ``image_aspect_ratio=pad``.

    Args:
        config: from :func:`original_config`.
        vision: folder of the CLIP model, whose preprocessor_config.json has sizes, mean and deviation.

    Raises:
        UserError: if that file is missing or its crops do not have the size that the vision tower takes.
    """
    file = vision / "preprocessor_config.json"
    read_object(file)
    if config.model_type == "llava_next":
        processor = LlavaNextImageProcessorPil.from_pretrained(
            vision, local_files_only=True, image_grid_pinpoints=config.image_grid_pinpoints
        )
    else:
        pad = config.image_aspect_ratio == "pad"
        processor = LlavaImageProcessorPil.from_pretrained(vision, local_files_only=True, do_pad=pad)
    size, crop = config.vision_config.image_size, processor.crop_size
    if (crop.height, crop.width, processor.size.shortest_edge) != (size, size, size):
        raise UserError(
            f"{file}: size={processor.size}, crop_size={crop}: expected {size}, as in config.json"
        )
    return processor


def _from_sentencepiece(file: Path) -> LlamaTokenizer:
    """Build a byte-pair encoding with the merges in the order of the pieces' scores.

    transformers orders them by id, which gives other tokens for consecutive spaces.
    """
    if importlib.util.find_spec("sentencepiece") is None:
        raise UserError(
            f"{file} needs sentencepiece, which is not installed; run pip install sentencepiece, or put a "
            "tokenizer.json in the same folder"
        )
    sentencepiece: Any = importlib.import_module("sentencepiece")
    try:
        model = sentencepiece.SentencePieceProcessor(model_file=str(file))
    except (OSError, RuntimeError) as error:
        raise UserError(f"{file} is damaged or not a sentencepiece model ({error})") from error
    pieces = [model.id_to_piece(i) for i in range(model.get_piece_size())]
    scores = {piece: model.get_score(i) for i, piece in enumerate(pieces)}
    merges = [
        (score, piece[:i], piece[i:])
        for piece, score in scores.items()
        for i in range(1, len(piece))
        if piece[:i] in scores and piece[i:] in scores
    ]
    merges.sort(key=lambda merge: -merge[0])
    return LlamaTokenizer(
        vocab={piece: i for i, piece in enumerate(pieces)},
        merges=[(left, right) for _, left, right in merges],
    )
