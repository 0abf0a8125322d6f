"""Prune the visual tokens of a model that the user already has, around its own ``generate``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from script_exp.errors import UserError
from script_exp.models.load import ADAPTERS
from script_exp.models.prunable import PrunableModel
from script_exp.models.query_encoder import ClipQueryEncoder
from script_exp.pruners.base import Pruner
from script_exp.pruners.layer import LayerPruner

_MARK = "\N{OBJECT REPLACEMENT CHARACTER}"


@contextmanager
def prune(
    model: Any,
    processor: Any,
    pruner: Pruner | LayerPruner,
    *,
    clip: str | Path | None = None,
    relevance_sign: int = -1,
    questions: Sequence[str] | None = None,
) -> Iterator[None]:
    """Within the context, ``model.generate(**inputs)`` runs with the visual tokens that ``pruner`` keeps.

    The call returns what it would return without: the prompt's ids, unshortened, with the new tokens behind
    them.

    Args:
        model: a Hugging Face model of a supported family (``script_exp.models.load.ADAPTERS``).
        processor: its processor; must have made ``inputs``.
        pruner: the method with its budget.
        clip: folder of the CLIP checkpoint that the vision tower came from, for pruners that need the
            question; None for the folder ``clip`` inside the model's own.
        relevance_sign: -1 for OpenAI's CLIP at layer -2; +1 for the embedded tiny model (:class:`Query`).
        questions: the bare questions, one per row; None to read them from the prompt.

    Raises:
        UserError: if the family is not supported or the CLIP checkpoint does not fit.
    """
    family = getattr(model.config, "model_type", None)
    if family not in ADAPTERS:
        raise UserError(f"model of type {family!r}: expected one of {', '.join(ADAPTERS)}")
    adapter = ADAPTERS[family](model)
    encoder = None
    if pruner.needs_query:
        folder = Path(model.config._name_or_path) / "clip" if clip is None else Path(clip)
        encoder = ClipQueryEncoder.from_folder(folder, adapter.tower_width, model.device)
    prunable = PrunableModel(model, processor, adapter, encoder, relevance_sign)
    outer = vars(model).get("generate")  # of an enclosing context, if there is one
    model.generate = _pruned_generate(model.generate, prunable, pruner, questions)
    try:
        yield
    finally:
        del model.generate  # uncovers the method of the class
        if outer is not None:
            model.generate = outer


def _pruned_generate(
    generate: Callable[..., Any],
    prunable: PrunableModel,
    pruner: Pruner | LayerPruner,
    questions: Sequence[str] | None,
) -> Callable[..., Any]:
    @torch.inference_mode()
    def pruned(inputs: Tensor | None = None, **arguments: Any) -> Any:
        if inputs is not None:
            arguments["input_ids"] = inputs
        if arguments.get("pixel_values") is None:
            return generate(**arguments)
        names = ("input_ids", "attention_mask", "pixel_values")
        batch = {name: arguments.pop(name) for name in names if name in arguments}
        ids = batch["input_ids"]
        batch.setdefault("attention_mask", torch.ones_like(ids))
        _check_batch(batch, pruner, questions)
        images = prunable.encode_images(batch, with_joint=pruner.needs_query)
        queries = None
        if pruner.needs_query:
            queries = prunable.encode_queries(questions or bare_questions(prunable, ids))
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


def _check_batch(
    inputs: dict[str, Tensor], pruner: Pruner | LayerPruner, questions: Sequence[str] | None
) -> None:
    rows = len(inputs["input_ids"])
    if questions is not None and len(questions) != rows:
        raise UserError(f"questions has {len(questions)} entries: expected one for each of the {rows} rows")
    if isinstance(pruner, LayerPruner) and not inputs["attention_mask"][:, -1].all():
        raise UserError(
            "the prompts are padded on the right: expected padding on the left, to generate from them"
        )


def bare_questions(prunable: PrunableModel, input_ids: Tensor) -> list[str]:
    """The user's text of each prompt, without placeholders, special tokens and the chat template's words."""
    tokenizer = prunable.processor.tokenizer
    image = prunable.adapter.image_token_id
    before, after = _template(prunable.processor)
    texts = []
    for ids in input_ids:
        text = tokenizer.decode(ids[ids != image], skip_special_tokens=True).strip()
        texts.append(text.removeprefix(before).removesuffix(after).strip())
    return texts


def _template(processor: Any) -> tuple[str, str]:
    """What the chat template puts before and behind a user's text, as the tokenizer decodes it."""
    if not processor.chat_template:
        return "", ""
    tokenizer = processor.tokenizer
    content = [{"type": "image"}, {"type": "text", "text": _MARK}]
    rendered = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    parts = []
    for part in rendered.split(_MARK):
        ids = tokenizer(part.replace(processor.image_token, ""), add_special_tokens=False)["input_ids"]
        parts.append(tokenizer.decode(ids, skip_special_tokens=True).strip())
    return parts[0], parts[-1]


def _with_prompt(ids: Tensor, sequences: Tensor, pruned_length: int) -> Tensor:
    """The caller's prompt in front of the new tokens; beams and several return sequences repeat it."""
    prompt = ids.repeat_interleave(sequences.shape[0] // ids.shape[0], dim=0)
    return torch.cat([prompt, sequences[:, pruned_length:]], dim=1)
