"""Prune the visual tokens of a model that the user has already loaded, around its own ``generate``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from script_exp.errors import SettingError, UserError, check_choice
from script_exp.models.budgets import compares_frames
from script_exp.models.families.adapter import EncodedImage
from script_exp.models.families.registry import adapter_of, has_clip_tower
from script_exp.models.loading.clip import query_encoder
from script_exp.models.loading.source import Source, locate
from script_exp.models.per_row import PerRow, per_row
from script_exp.models.processing import Processing
from script_exp.models.prompt import rows_of_images
from script_exp.models.prunable import PrunableModel
from script_exp.models.question import bare_questions
from script_exp.pruners.contract.layer_pruner import LayerPruner
from script_exp.pruners.contract.pruner import Pruner
from script_exp.pruners.contract.visual_tokens import Query

_PIXELS = ("pixel_values", "pixel_values_videos")
_TYPES = ("mm_token_type_ids", "token_type_ids")
"""What some processors say of each token of the whole prompt; a shortened prompt has its own."""


@contextmanager
def prune(
    model: Any,
    processor: Any,
    pruner: Pruner | LayerPruner,
    *,
    clip: str | Path | None = None,
    questions: PerRow | None = None,
    keys: PerRow | None = None,
    modality: str = "image",
    **rules: Any,
) -> Iterator[None]:
    """Within the context, ``model.generate(**inputs)`` runs with the visual tokens that ``pruner`` keeps.

    The call returns the same as without pruning: the ids of the full prompt, followed by the new tokens. Only
    ``generate`` is pruned: a call of the model with an image, as for a loss or a log-likelihood, is an error.

    Args:
        model: a Hugging Face model of a supported family (``script_exp.models.families.registry.ADAPTERS``).
        processor: its processor; must have made ``inputs``.
        pruner: the method with its budget.
        clip: folder or hub id of the CLIP checkpoint that the vision tower comes from, for pruners that need
            the question; None for the folder ``clip`` inside the model's own. Models without CLIP compare the
            question with the visual tokens in the LLM's input space and need none.
        questions: the bare questions, one per row; a function of ``input_ids`` if they differ between calls;
            None to read them from the prompt.
        keys: for methods that draw at random, the same for names of the rows that fix their draws, such as
            the ids of samples; None for the row's words and pixels.
        modality: what to prune if a model takes both: ``image`` or ``video``.
        rules: fields of :class:`script_exp.models.rules.PruningRules` that differ from the family's defaults;
            the embedded tiny model needs ``relevance_sign=1``.

    Raises:
        UserError: if the family is not supported or the CLIP checkpoint does not fit; within the context, if
            questions or keys do not fit the rows, or the model itself is called with an image.
    """
    prunable = _prunable(model, processor, pruner, clip, modality, rules)
    outer = vars(model).get("generate")  # set by an enclosing context, if any
    model.generate = _pruned_generate(model.generate, prunable, pruner, questions, keys)
    guard = model.register_forward_pre_hook(_refuse_images, with_kwargs=True)
    try:
        yield
    finally:
        guard.remove()
        del model.generate  # restores the method of the class
        if outer is not None:
            model.generate = outer


def select(
    model: Any,
    processor: Any,
    pruner: Pruner,
    inputs: Mapping[str, Tensor],
    *,
    clip: str | Path | None = None,
    questions: PerRow | None = None,
    keys: PerRow | None = None,
    modality: str = "image",
    **rules: Any,
) -> list[Tensor]:
    """Return the tokens that ``pruner`` keeps, without running the LLM.

    Args:
        inputs: the processor's output.
        model, processor, pruner, clip, questions, keys, modality, rules: as for :func:`prune`.

    Returns:
        ascending raster indices (crops, k) for each image, in the order of the prompt. Where crops keep
        different numbers of tokens, k is the largest, and -1 fills up the others.

    Raises:
        UserError: as for :func:`prune`, and for a method that prunes inside the LLM.
    """
    if isinstance(pruner, LayerPruner):
        raise UserError(
            f"{type(pruner).__name__} prunes inside the LLM: expected a method that prunes before it"
        )
    prunable = _prunable(model, processor, pruner, clip, modality, rules)
    ids = inputs["input_ids"]
    images = prunable.encode_images(dict(inputs), pruner.reads)
    rows = rows_of_images(ids, prunable.adapter.placeholder_id, [len(image.packed) for image in images])
    queries = _queries(prunable, pruner, ids, questions)
    names = _keys(prunable, pruner, inputs, images, keys)
    kept = prunable.select(images, rows, pruner, queries, names)
    return [one.indices for one in kept]


def _prunable(
    model: Any,
    processor: Any,
    pruner: Pruner | LayerPruner,
    clip: str | Path | None,
    modality: str,
    rules: dict[str, Any],
) -> PrunableModel:
    check_choice("modality", modality, ("image", "video"))
    adapter = adapter_of(model, modality)
    if modality == "video" and adapter.modality != "video":
        raise SettingError("modality", modality, f"image: {type(model).__name__} has no videos here")
    if compares_frames(pruner) and adapter.modality != "video":
        raise SettingError(
            "pruner",
            type(pruner).__name__,
            "a method for images; this one compares the frames of a video, which need modality=video and a "
            "model that takes videos",
        )
    adapter.check_reads(pruner.reads, model.config)
    processing = Processing.of(processor, adapter)
    encoder = None
    if pruner.needs_query:
        encoder = query_encoder(adapter, processing.tokenizer, _clip_source(model.config, clip))
    return PrunableModel(model, processing, adapter, encoder, replace(adapter.default_rules, **rules))


def _clip_source(config: Any, clip: str | Path | None) -> Source | None:
    if not has_clip_tower(config):
        return None
    if clip is not None:
        return locate("clip", str(clip))
    folder = Path(config._name_or_path) / "clip"
    if not folder.is_dir():
        raise SettingError(
            "clip",
            None,
            "the hub id or folder of the CLIP model that the vision tower comes from "
            f"(openai/clip-vit-large-patch14-336 for LLaVA); {folder} does not exist",
        )
    return Source(f"clip={folder}", folder)


def _keys(
    prunable: PrunableModel,
    pruner: Pruner | LayerPruner,
    inputs: Mapping[str, Tensor],
    images: Sequence[EncodedImage],
    given: PerRow | None,
) -> list[str] | None:
    """Return names of the rows for methods that draw at random: those given, or of their ids and pixels.

    So each row has its own draw, and the same one in any batch, on any device, in float32 and bfloat16.
    """
    ids = inputs["input_ids"]
    own = per_row("keys", given, ids)
    if not pruner.draws:
        return None
    if own is not None:
        return own
    mask = inputs.get("attention_mask", torch.ones_like(ids)).bool()
    # Waits for the device, for methods that draw alone: their seeds are made on the host.
    words = [row[own].tolist() for row, own in zip(ids, mask, strict=True)]
    pixels: list[list[int]] = [[] for _ in words]
    rows = rows_of_images(ids, prunable.adapter.placeholder_id, [len(image.packed) for image in images])
    sums = _pixel_sums(prunable.adapter.pixels_of(dict(inputs), images)) if images else []
    for row, total in zip(rows, sums, strict=True):
        pixels[row].append(total)
    return [f"{own} {sums}" for own, sums in zip(words, pixels, strict=True)]


def _pixel_sums(parts: Sequence[Tensor]) -> list[int]:
    """Return a number for the pixels of each image."""
    return [int(part.bfloat16().view(torch.int16).long().sum()) for part in parts]


def _queries(
    prunable: PrunableModel, pruner: Pruner | LayerPruner, ids: Tensor, questions: PerRow | None
) -> list[Query] | None:
    """Return the questions of a batch in the query encoder's space, if the pruner needs them."""
    own = per_row("questions", questions, ids)
    if not pruner.reads.question:
        return None
    return prunable.encode_queries(own or bare_questions(prunable, ids), pruner.reads)


def _refuse_images(model: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Raise a :class:`UserError` for a call of the model, past ``generate``, that would not be pruned."""
    arguments = dict(zip(inspect.signature(model.forward).parameters, given, strict=False)) | named
    for name in _PIXELS:
        if arguments.get(name) is not None:
            raise UserError(
                f"{name}: prune() shortens only model.generate(...); expected no call of the model itself, "
                "whose logits, loss and log-likelihoods would be those of all visual tokens"
            )


def _pruned_generate(
    generate: Callable[..., Any],
    prunable: PrunableModel,
    pruner: Pruner | LayerPruner,
    questions: PerRow | None,
    keys: PerRow | None,
) -> Callable[..., Any]:
    names = dict.fromkeys([*prunable.adapter.inputs, *prunable.adapter.on_host])

    @torch.no_grad()
    def pruned(inputs: Tensor | None = None, generation_config: Any = None, **arguments: Any) -> Any:
        if inputs is not None:
            arguments["input_ids"] = inputs
        if generation_config is not None:
            arguments["generation_config"] = generation_config
        if all(arguments.get(name) is None for name in _PIXELS):
            return generate(**arguments)
        _check_call(prunable, arguments)
        taken = ("input_ids", "attention_mask", *_TYPES, *names)
        batch = {name: value for name in taken if (value := arguments.pop(name, None)) is not None}
        ids = batch["input_ids"]
        batch.setdefault("attention_mask", torch.ones_like(ids))
        if isinstance(pruner, LayerPruner) and not batch["attention_mask"][:, -1].all():
            raise UserError(
                "the prompts are padded on the right: expected padding on the left, as generation requires"
            )
        queries = _queries(prunable, pruner, ids, questions)
        images = prunable.encode_images(batch, pruner.reads)
        prompt = prunable.prune(batch, images, pruner, queries, _keys(prunable, pruner, batch, images, keys))
        length = prompt.arguments["input_ids"].shape[1]
        arguments |= _shifted_lengths(prunable.model, arguments, ids.shape[1] - length)
        with prunable.pruning_inside(prompt):
            output = generate(**prompt.arguments, **arguments)
        if isinstance(output, Tensor):
            return _with_prompt(ids, output, length)
        output.sequences = _with_prompt(ids, output.sequences, length)
        return output

    return pruned


def _check_call(prunable: PrunableModel, arguments: dict[str, Any]) -> None:
    """Raise a :class:`UserError` for arguments of ``generate`` that pruning does not support."""
    adapter = prunable.adapter
    for name in _PIXELS:
        if name != adapter.inputs[0] and arguments.get(name) is not None:
            raise UserError(
                f"{name}: expected only {adapter.inputs[0]}; {type(adapter).__name__} prunes only "
                f"{adapter.modality}s"
            )
    for name in ("position_ids", "cache", "past_key_values", "inputs_embeds"):
        if arguments.get(name) is not None:
            raise UserError(f"{name}: expected none; it follows from the shortened prompt")
    if prunable.rules.positions == "preserved" and arguments.get("use_cache") is False:
        # Without a cache, transformers takes gaps between positions for the borders of packed sequences.
        raise UserError("use_cache=False: expected a cache, or positions=contiguous")


def _shifted_lengths(model: Any, arguments: dict[str, Any], dropped: int) -> dict[str, int]:
    """Return ``max_length`` and ``min_length`` minus the dropped tokens: both count the caller's prompt."""
    config = arguments.get("generation_config") or model.generation_config
    lengths = {
        name: arguments.get(name) or getattr(config, name, None) for name in ("max_length", "min_length")
    }
    return {name: length - dropped for name, length in lengths.items() if length is not None}


def _with_prompt(ids: Tensor, sequences: Tensor, pruned_length: int) -> Tensor:
    """Put the caller's prompt before the new tokens; beams and several return sequences repeat it."""
    prompt = ids.repeat_interleave(sequences.shape[0] // ids.shape[0], dim=0)
    return torch.cat([prompt, sequences[:, pruned_length:]], dim=1)
