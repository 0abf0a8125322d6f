"""A Hugging Face model that runs with fewer visual tokens: the stages of one forward pass, one method each.

images, prompts --preprocess--> inputs --encode_images--> EncodedImage ┐
questions ---------encode_queries-----------------------> Query        ┴ prune -> PrunedPrompt -> prefill |
generate
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from script_exp.models.arguments import blocks_of, short_arguments, whole_arguments
from script_exp.models.budgets import budget_bases, budget_basis, check_renumbering, fitted
from script_exp.models.cache_name import CACHE
from script_exp.models.devices import device_of
from script_exp.models.families.adapter import SEPARATOR, EncodedImage, ModelAdapter, Visual
from script_exp.models.layer_hooks import LayerPruning, layer_pruning
from script_exp.models.positions import tokens_left
from script_exp.models.processing import Processing, on_device
from script_exp.models.prompt import mark_placeholders, rows_of_images, shorten_prompt
from script_exp.models.query_encoder import QueryEncoder
from script_exp.models.question_words import embedded_words
from script_exp.models.rules import PruningRules, check_positions
from script_exp.models.stage_outputs import Features, Generated, Prompt, PrunedPrompt, known_by_row
from script_exp.models.tower_layers import unused_layers_skipped
from script_exp.pruners.before_llm.none import NoPruning
from script_exp.pruners.contract.kept import Kept
from script_exp.pruners.contract.layer_pruner import LayerPruner, by_layer
from script_exp.pruners.contract.pruner import Pruner
from script_exp.pruners.contract.signals import JOINT, NOTHING, Reads
from script_exp.pruners.contract.visual_tokens import Query


class PrunableModel:
    """A model with its processing and query encoder.

    Attributes:
        model: the Hugging Face model, as it was loaded.
        processing: tokenizer, image processor and conversation.
        adapter: the adapter of its family.
        query_encoder: None if no pruner needs the question.
        rules: choices for the model rather than for a method; None for the family's defaults.
    """

    def __init__(
        self,
        model: Any,
        processing: Processing,
        adapter: ModelAdapter,
        query_encoder: QueryEncoder | None,
        rules: PruningRules | None = None,
    ) -> None:
        rules = rules or adapter.default_rules
        adapter.check_rules(rules)
        self.model, self.processing, self.adapter = model, processing, adapter
        self.query_encoder, self.rules = query_encoder, rules

    @property
    def device(self) -> torch.device:
        return device_of(self.model)

    @property
    def records_graphs(self) -> bool:
        """Whether the first prefills of each length record a CUDA graph and are slower than later ones."""
        return getattr(self.adapter.llm.forward, "records_graphs", False)

    def chat_prompt(self, text: str, visuals: int = 1) -> str:
        """Return the conversation with a question about so many images or videos, which come first."""
        return self.processing.prompt(text, self.adapter.content_type, visuals)

    def preprocess(self, visuals: Sequence[Sequence[Visual]], prompts: Sequence[str]) -> dict[str, Tensor]:
        """Return a batch's tensors, on the model's device and in its dtype; ``visuals`` are images by row."""
        return self._on_device(self.processing.batch(self.adapter, visuals, prompts))

    def process(self, *visuals: Visual) -> dict[str, Tensor]:
        """Return pixels and sizes of a question's images, on the host; may run in any thread."""
        return self.processing.pixels(self.adapter, visuals)

    def encode(self, processed: dict[str, Tensor], reads: Reads = NOTHING) -> Features:
        """Run a question's images after :meth:`process` through the tower and the projector.

        They run alone, with all of their crops: the result is bitwise the same whatever batch it is used in.
        """
        tensors = self._on_device(processed)
        images = self.encode_images(tensors, reads)
        texts = self.adapter.texts(tensors, self.processing.placeholder)
        needed = set(self.adapter.inputs[1:]) - set(self.adapter.pixels_only)
        sizes = {name: values for name, values in tensors.items() if name in needed}
        return Features(tuple(images), sizes, tuple(texts))

    def words(self, features: Sequence[Features], prompts: Sequence[str]) -> dict[str, Tensor]:
        """Return the tensors of :meth:`preprocess` without the pixels, for the encoded images of each row."""
        sizes = {name: torch.cat([row.sizes[name] for row in features]) for name in features[0].sizes}
        return sizes | self._on_device(self.processing.words(prompts, [row.texts for row in features]))

    @torch.no_grad()
    def encode_images(self, inputs: dict[str, Tensor], reads: Reads = NOTHING) -> list[EncodedImage]:
        """Run tower and projector, and compute what a method ``reads`` besides their output."""
        if self.adapter.inputs[0] not in inputs:
            return []
        encoder = self._encoder() if reads.joint else None
        with unused_layers_skipped(self.model):
            if reads.smaller_to is not None:
                images = self.adapter.encode_smaller(inputs, reads.smaller_to)
            else:
                images = self.adapter.encode_images(inputs, encoder, reads.signals)
        return [image.to(self.device) for image in images]  # parts of a model may run elsewhere

    @torch.no_grad()
    def encode_queries(self, questions: Sequence[str], reads: Reads = JOINT) -> list[Query]:
        """Embed the questions as a method ``reads`` them."""
        queries, device = [], self.device
        for text in questions:
            joint = self._encoder().embed_text(text) if reads.joint else torch.empty(0, 0)
            words = embedded_words(self.model, self.processing.tokenizer, text) if reads.words else None
            own = joint.to(device), self.rules.relevance_sign, words if words is None else words.to(device)
            queries.append(Query(*own))
        return queries

    def select(
        self,
        images: Sequence[EncodedImage],
        rows: Sequence[int],
        pruner: Pruner,
        queries: Sequence[Query] | None = None,
        keys: Sequence[str] | None = None,
    ) -> list[Kept]:
        """Return what ``pruner`` keeps of each image; image i is in row ``rows[i]``. See :meth:`prune`."""
        kept = []
        for index, (image, row) in enumerate(zip(images, rows, strict=True)):
            visual = image.visual
            if keys is not None:  # further images of a row must not draw the same tokens as the first
                earlier = list(rows[:index]).count(row)
                visual = replace(visual, key=keys[row] + (f"/{earlier}" if earlier else ""))
            able = fitted(pruner, image, self.adapter)
            kept.append(able(visual, None if queries is None else queries[row]))
        return kept

    def whole_prompt(self, inputs: dict[str, Tensor], images: Sequence[EncodedImage]) -> Prompt:
        """Return what the stock model passes to its LLM, without choosing or counting any token."""
        return Prompt(whole_arguments(self.adapter, inputs, images))

    @torch.no_grad()
    def prune(
        self,
        inputs: dict[str, Tensor],
        images: Sequence[EncodedImage],
        pruner: Pruner | LayerPruner,
        queries: Sequence[Query] | None = None,
        keys: Sequence[str] | None = None,
    ) -> PrunedPrompt:
        """Choose tokens and shorten the prompt to them; a layer pruner gets the whole prompt.

        Args:
            inputs: from :meth:`preprocess`.
            images: from :meth:`encode_images`, in the order of the prompt; a row may have none or several.
            pruner: the method.
            queries: one per row, if the pruner needs the question.
            keys: one per row: names of the image-question pairs, for methods that draw at random.

        Raises:
            ValueError: if the images do not match the prompt.
            SettingError: if the budget cannot be met.
        """
        ids, placeholder = inputs["input_ids"], self.adapter.placeholder_id
        rows = rows_of_images(ids, placeholder, [len(image.packed) for image in images])
        kept: list[Kept] = []
        left = inputs["attention_mask"]
        first = pruner.first if isinstance(pruner, LayerPruner) else pruner
        check_renumbering(pruner, self.adapter)
        if first is None:
            flags = [torch.ones_like(image.source, dtype=torch.bool) for image in images]
            features = [image.packed for image in images]
        else:
            kept = self.select(images, rows, first, queries, keys)
            if first.aggregates:
                check_positions(self.rules)
            separators = self.rules.newline == "keep" or isinstance(first, NoPruning)
            keep = [image.keep(one, separators) for image, one in zip(images, kept, strict=True)]
            flags, features = [flag for flag, _ in keep], [feature for _, feature in keep]
            if not separators:
                left = left.masked_fill(self.processing.ends_row(ids), 0)
        prompt = shorten_prompt(
            ids,
            left,
            placeholder,
            mark_placeholders(ids, placeholder, flags),
            self.processing.tokenizer.pad_token_id or 0,  # it is masked
        )
        are_tokens = mark_placeholders(ids, placeholder, [image.source != SEPARATOR for image in images])
        tokens = are_tokens.gather(1, prompt.columns) & prompt.attention_mask.bool()
        preserved = self.rules.positions == "preserved"
        arguments = short_arguments(
            self.adapter, inputs, prompt, images, flags, features, preserved=preserved
        )
        between = (prompt.input_ids == placeholder) | self.processing.ends_row(prompt.input_ids)
        marks = are_tokens, tokens, between
        before, entering, marked = torch.stack([one.sum(dim=1) for one in marks]).tolist()  # one wait for all
        by_row = [
            [image for image, own in zip(images, rows, strict=True) if own == row] for row in range(len(ids))
        ]
        return PrunedPrompt(
            arguments,
            kept,
            tokens,
            before=before,
            entering=entering,
            separators=[every - own for every, own in zip(marked, entering, strict=True)],
            crops=[sum(image.crops for image in row) for row in by_row],
            budget_crops=[sum(image.budget_crops for image in row) for row in by_row],
            offered=[sum(image.visual.projected.shape[:2].numel() for image in row) for row in by_row],
            grids=[[image.grid for image in row if image.grid is not None] for row in by_row],
            known=known_by_row(by_row, kept, pruner, self.adapter),
            layer_pruner=pruner if isinstance(pruner, LayerPruner) else None,
        )

    @contextmanager
    def pruning_inside(self, prompt: Prompt) -> Iterator[LayerPruning | None]:
        """Install the layer pruner's hooks, if there is one, for the forward passes that share one cache."""
        if not isinstance(prompt, PrunedPrompt) or prompt.layer_pruner is None:
            yield None
            return
        crops, tokens = budget_bases(prompt.layer_pruner, prompt.budget_crops, prompt.entering, self.adapter)
        placeholder = prompt.arguments["input_ids"] == self.adapter.placeholder_id
        given = prompt.layer_pruner.then, prompt.tokens, crops, tokens, placeholder, prompt.known
        blocks = blocks_of(self.adapter, prompt.arguments)
        with layer_pruning(self.adapter.llm, *given, blocks) as inside:
            yield inside

    @torch.no_grad()
    def prefill(self, prompt: Prompt) -> Any:
        """Run the prompt up to the logits of its last position; call it inside :meth:`pruning_inside`."""
        arguments = self.adapter.forward_arguments(prompt.made)
        return self.model(**arguments, use_cache=True, logits_to_keep=1)

    @torch.no_grad()
    def decode_step(self, output: Any, prompt: Prompt, steps: int) -> Any:
        """Decode one greedy token after ``output``, the ``steps``-th since the prefill (from 1)."""
        mask = prompt.made["attention_mask"]
        arguments = {"attention_mask": torch.cat([mask, mask.new_ones(len(mask), steps)], dim=1)}
        if "position_ids" in prompt.made:
            arguments["position_ids"] = prompt.made["position_ids"][..., -1:] + steps
        arguments = self.adapter.forward_arguments(arguments) | {CACHE: getattr(output, CACHE)}
        return self.model(input_ids=output.logits[:, -1:].argmax(dim=-1), use_cache=True, **arguments)

    @torch.no_grad()
    def generate(self, prompt: PrunedPrompt, max_new_tokens: int) -> Generated:
        """Generate the greedy answers of a batch; an answer ends at the LLM's last position."""
        left = tokens_left(self.model.config, prompt.arguments)
        most = min(max_new_tokens, max(left))
        with self.pruning_inside(prompt) as inside:
            ids = self.model.generate(**prompt.arguments, max_new_tokens=most, do_sample=False)
        new = ids[:, prompt.arguments["input_ids"].shape[1] :]
        own = [row[:count] for row, count in zip(new, left, strict=True)]
        answers = self.processing.tokenizer.batch_decode(own, skip_special_tokens=True)
        remaining = prompt.tokens if inside is None else inside.remaining
        return Generated([text.strip() for text in answers], remaining)

    def visual_by_layer(
        self, pruner: Pruner | LayerPruner, before: int, entering: int, budget_crops: int
    ) -> list[int]:
        """Return the visual tokens of one row that each decoder layer sees.

        Args:
            pruner: the method.
            before: the row's visual tokens before pruning.
            entering: those that enter the LLM, if a method runs before it.
            budget_crops: crops that the budget is multiplied by.
        """
        layers = len(self.adapter.llm.layers)
        if not isinstance(pruner, LayerPruner):
            return [entering] * layers
        entering = before if pruner.first is None else entering
        return by_layer(self.schedule(pruner, entering, budget_crops), entering, layers)

    def schedule(self, pruner: LayerPruner, entering: int, budget_crops: int) -> dict[int, int]:
        """Return the visual tokens of one row that remain from each stage's layer on, by that layer."""
        crops, tokens = budget_basis(pruner, budget_crops, entering, self.adapter)
        return pruner.then.row_schedule(entering, crops, len(self.adapter.llm.layers), tokens)

    def query_tokens(self, question: str) -> int:
        """Return how many tokens of a question run through the query encoder."""
        return self._encoder().token_count(question)

    def _on_device(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return on_device(tensors, self.device, self.model.dtype, self.adapter.on_host)

    def _encoder(self) -> QueryEncoder:
        if self.query_encoder is None:
            raise ValueError("this pruner needs the question, but no query encoder was loaded")
        return self.query_encoder
