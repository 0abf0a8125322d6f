"""Prune the visual tokens of a model that the user already has, around its own ``generate``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from script_exp.errors import UserError
from script_exp.models.families import adapter_of, query_encoder
from script_exp.models.processing import Processing
from script_exp.models.prompt import rows_of_images
from script_exp.models.prunable import PrunableModel
from script_exp.pruners.base import Pruner, Query
from script_exp.pruners.layer import LayerPruner

_MARK = "\N{OBJECT REPLACEMENT CHARACTER}"


@contextmanager
def prune(
    model: Any,
    processor: Any,
    pruner: Pruner | LayerPruner,
    *,
    clip: str | Path | None = None,
    questions: Sequence[str] | None = None,
    **rules: Any,
) -> Iterator[None]:
    """Within the context, ``model.generate(**inputs)`` runs with the visual tokens that ``pruner`` keeps.

    The call returns what it would return without: the prompt's ids, unshortened, with the new tokens behind
    them.

    Args:
        model: a Hugging Face model of a supported family (``script_exp.models.families.ADAPTERS``).
        processor: its processor; must have made ``inputs``.
        pruner: the method with its budget.
        clip: folder of the CLIP checkpoint that the vision tower came from, for pruners that need the
            question; None for the folder ``clip`` inside the model's own. Models without CLIP compare the
            question with the visual tokens in the LLM's input space and need none.
        questions: the bare questions, one per row; None to read them from the prompt.
        rules: fields of :class:`script_exp.models.rules.PruningRules` that differ from the family's defaults;
            the embedded tiny model needs ``relevance_sign=1``.

    Raises:
        UserError: if the family is not supported or the CLIP checkpoint does not fit.
    """
    prunable = _prunable(model, processor, pruner, clip, rules)
    outer = vars(model).get("generate")  # of an enclosing context, if there is one
    model.generate = _pruned_generate(model.generate, prunable, pruner, questions)
    try:
        yield
    finally:
        del model.generate  # uncovers the method of the class
        if outer is not None:
            model.generate = outer


def select(
    model: Any,
    processor: Any,
    pruner: Pruner,
    inputs: Mapping[str, Tensor],
    *,
    clip: str | Path | None = None,
    questions: Sequence[str] | None = None,
    **rules: Any,
) -> list[Tensor]:
    """The tokens that ``pruner`` keeps, without running the LLM.

    Args:
        inputs: what the processor made.
        model, processor, pruner, clip, questions, rules: as for :func:`prune`.

    Returns:
        ascending raster indices (crops, k) for each image, in the order of the prompt.

    Raises:
        UserError: as for :func:`prune`, and for a method that chooses inside the LLM.
    """
    if isinstance(pruner, LayerPruner):
        raise UserError(
            f"{type(pruner).__name__} chooses tokens inside the LLM: expected one that does before"
        )
    prunable = _prunable(model, processor, pruner, clip, rules)
    ids = inputs["input_ids"]
    images = prunable.encode_images(dict(inputs), with_joint=pruner.needs_query)
    rows = rows_of_images(ids, prunable.adapter.placeholder_id, [len(image.packed) for image in images])
    queries = _queries(prunable, pruner, ids, questions)
    kept = prunable.select(images, rows, pruner, queries, keys=[str(row) for row in range(len(ids))])
    return [one.indices for one in kept]


def _prunable(
    model: Any,
    processor: Any,
    pruner: Pruner | LayerPruner,
    clip: str | Path | None,
    rules: dict[str, Any],
) -> PrunableModel:
    adapter = adapter_of(model)
    processing = Processing.of(processor, adapter)
    encoder = None
    if pruner.needs_query:
        folder = Path(model.config._name_or_path) / "clip" if clip is None else Path(clip)
        encoder = query_encoder(adapter, processing.tokenizer, folder)
    return PrunableModel(model, processing, adapter, encoder, replace(adapter.default_rules, **rules))


def _queries(
    prunable: PrunableModel, pruner: Pruner | LayerPruner, ids: Tensor, questions: Sequence[str] | None
) -> list[Query] | None:
    """The questions of a batch in the query encoder's space, if the pruner needs them."""
    if questions is not None and len(questions) != len(ids):
        raise UserError(
            f"questions has {len(questions)} entries: expected one for each of the {len(ids)} rows"
        )
    if not pruner.needs_query:
        return None
    return prunable.encode_queries(questions or bare_questions(prunable, ids))


def _pruned_generate(
    generate: Callable[..., Any],
    prunable: PrunableModel,
    pruner: Pruner | LayerPruner,
    questions: Sequence[str] | None,
) -> Callable[..., Any]:
    names = prunable.adapter.inputs

    @torch.inference_mode()
    def pruned(inputs: Tensor | None = None, **arguments: Any) -> Any:
        if inputs is not None:
            arguments["input_ids"] = inputs
        if arguments.get(names[0]) is None:
            return generate(**arguments)
        taken = ("input_ids", "attention_mask", "mm_token_type_ids", "position_ids", *names)
        batch = {name: value for name in taken if (value := arguments.pop(name, None)) is not None}
        ids = batch["input_ids"]
        batch.setdefault("attention_mask", torch.ones_like(ids))
        if isinstance(pruner, LayerPruner) and not batch["attention_mask"][:, -1].all():
            raise UserError(
                "the prompts are padded on the right: expected padding on the left, to generate from them"
            )
        queries = _queries(prunable, pruner, ids, questions)
        images = prunable.encode_images(batch, with_joint=pruner.needs_query)
        prompt = prunable.prune(batch, images, pruner, queries, keys=[str(row) for row in range(len(ids))])
        length = prompt.arguments["input_ids"].shape[1]
        for name in ("max_length", "min_length"):  # they count the prompt that the caller knows
            if name in arguments:
                arguments[name] -= ids.shape[1] - length
        with prunable.pruning_inside(prompt):
            output = generate(**prompt.arguments, **arguments)
        if isinstance(output, Tensor):
            return _with_prompt(ids, output, length)
        output.sequences = _with_prompt(ids, output.sequences, length)
        return output

    return pruned


def bare_questions(prunable: PrunableModel, input_ids: Tensor) -> list[str]:
    """The user's text of each prompt, without placeholders, special tokens and the conversation's words."""
    tokenizer, placeholder = prunable.processing.tokenizer, prunable.adapter.placeholder_id
    before, after = _conversation(prunable)
    texts = []
    for ids in input_ids:
        text = tokenizer.decode(ids[ids != placeholder], skip_special_tokens=True).strip()
        texts.append(text.removeprefix(before).removesuffix(after).strip())
    return texts


def _conversation(prunable: PrunableModel) -> tuple[str, str]:
    """What the conversation puts before and behind a user's text, as the tokenizer decodes it."""
    processing = prunable.processing
    if not (processing.chat_template or processing.tokenizer.chat_template):
        return "", ""
    parts = []
    for part in prunable.chat_prompt(_MARK).split(_MARK):
        ids = processing.tokenizer(part.replace(processing.placeholder, ""), add_special_tokens=False)
        parts.append(processing.tokenizer.decode(ids["input_ids"], skip_special_tokens=True).strip())
    return parts[0], parts[-1]


def _with_prompt(ids: Tensor, sequences: Tensor, pruned_length: int) -> Tensor:
    """The caller's prompt in front of the new tokens; beams and several return sequences repeat it."""
    prompt = ids.repeat_interleave(sequences.shape[0] // ids.shape[0], dim=0)
    return torch.cat([prompt, sequences[:, pruned_length:]], dim=1)
