"""A Hugging Face model that runs with fewer visual tokens: the stages of one forward pass, one method each.

images, prompts --preprocess--> inputs --encode_images--> EncodedImage ┐
questions ---------encode_queries-----------------------> Query        ┴ prune -> PrunedPrompt -> prefill |
generate
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from script_exp.models.images import EncodedImage, ModelAdapter
from script_exp.models.layer_hooks import layer_pruning
from script_exp.models.prompt import rows_of_images, shorten_prompt
from script_exp.models.query_encoder import ClipQueryEncoder
from script_exp.pruners.base import Kept, Pruner, Query
from script_exp.pruners.layer import LayerPruner


@dataclass(frozen=True)
class PrunedPrompt:
    """What goes into the LLM.

    Attributes:
        arguments: keyword arguments of ``forward`` and ``generate``.
        kept: what was kept of each image before the LLM, in the order of the prompt.
        visual: visual tokens of each row before pruning.
        entering: visual tokens of each row that enter the LLM.
        crops: crops of each row.
        layer_pruner: the pruner that still has to run inside the LLM, if it is one of that kind.
    """

    arguments: dict[str, Any]
    kept: list[Kept]
    visual: list[int]
    entering: list[int]
    crops: list[int]
    layer_pruner: LayerPruner | None


class PrunableModel:
    """Model, processor and query encoder together.

    Attributes:
        model: the Hugging Face model, as it was loaded.
        processor: its processor.
        adapter: what is special about its family.
        query_encoder: None if no pruner will need the question.
        relevance_sign: the sign that the model's config declares, see :class:`Query`.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        adapter: ModelAdapter,
        query_encoder: ClipQueryEncoder | None,
        relevance_sign: int,
    ) -> None:
        self.model, self.processor, self.adapter = model, processor, adapter
        self.query_encoder, self.relevance_sign = query_encoder, relevance_sign

    @property
    def device(self) -> torch.device:
        return self.model.device  # type: ignore[no-any-return]

    def chat_prompt(self, text: str) -> str:
        """The model's chat template around a question about one image."""
        content = [{"type": "image"}, {"type": "text", "text": text}]
        rendered = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True
        )
        return str(rendered)

    def preprocess(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> dict[str, Tensor]:
        """Pixels and left-padded ids of a batch, on the model's device."""
        batch = self.processor(
            images=list(images), text=list(prompts), padding=True, padding_side="left", return_tensors="pt"
        )
        inputs = {
            name: tensor.to(self.device) for name, tensor in batch.items() if isinstance(tensor, Tensor)
        }
        inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
        return inputs

    @torch.inference_mode()
    def encode_images(self, inputs: dict[str, Tensor], with_joint: bool) -> list[EncodedImage]:
        """Vision tower and projector; ``with_joint`` also embeds the patches in the query encoder's space."""
        return self.adapter.encode_images(inputs, self._encoder() if with_joint else None)

    @torch.inference_mode()
    def encode_queries(self, questions: Sequence[str]) -> list[Query]:
        """The questions in the query encoder's space."""
        encoder = self._encoder()
        return [Query(encoder.embed_text(question), self.relevance_sign) for question in questions]

    @torch.inference_mode()
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
            ValueError: if the images are not those of the prompt.
            SettingError: if the budget cannot be met.
        """
        lengths = [len(image.packed) for image in images]
        rows = rows_of_images(inputs["input_ids"], self.adapter.image_token_id, lengths)
        if isinstance(pruner, LayerPruner):
            features, kept = [image.packed for image in images], []
            ids, mask = inputs["input_ids"], inputs["attention_mask"]
        else:
            kept = [
                pruner(
                    image.visual if keys is None else replace(image.visual, key=keys[row]),
                    None if queries is None else queries[row],
                )
                for image, row in zip(images, rows, strict=True)
            ]
            features = [one.tokens.flatten(0, 1) for one in kept]
            ids, mask = shorten_prompt(
                inputs["input_ids"],
                inputs["attention_mask"],
                self.adapter.image_token_id,
                lengths,
                [len(tokens) for tokens in features],
                self.processor.tokenizer.pad_token_id,
            )
        arguments = {"input_ids": ids, "attention_mask": mask, **self.adapter.encoder_outputs(features)}
        crops = [0] * len(ids)
        for image, row in zip(images, rows, strict=True):
            crops[row] += image.visual.projected.shape[0]
        before = (inputs["input_ids"] == self.adapter.image_token_id).sum(dim=1).tolist()
        after = (ids == self.adapter.image_token_id).sum(dim=1).tolist()
        layer_pruner = pruner if isinstance(pruner, LayerPruner) else None
        return PrunedPrompt(arguments, kept, before, after, crops, layer_pruner)

    @contextmanager
    def pruning_inside(self, prompt: PrunedPrompt) -> Iterator[None]:
        """Hooks of the layer pruner, if there is one, for the forward passes that share one cache."""
        if prompt.layer_pruner is None:
            yield
            return
        visual = prompt.arguments["input_ids"] == self.adapter.image_token_id
        with layer_pruning(self.adapter.llm, prompt.layer_pruner, visual, prompt.crops):
            yield

    @torch.inference_mode()
    def prefill(self, prompt: PrunedPrompt) -> Any:
        """Run the prompt up to the logits of its last position; inside :meth:`pruning_inside`."""
        return self.model(**prompt.arguments, use_cache=True, logits_to_keep=1)

    @torch.inference_mode()
    def decode_step(self, output: Any, attention_mask: Tensor) -> Any:
        """One greedy token after ``output``; the mask (batch, length) covers the prompt and all since."""
        return self.model(
            input_ids=output.logits[:, -1:].argmax(dim=-1),
            attention_mask=attention_mask,
            past_key_values=output.past_key_values,
            use_cache=True,
        )

    @torch.inference_mode()
    def generate(self, prompt: PrunedPrompt, max_new_tokens: int) -> list[str]:
        """Greedy answers of a batch, stripped."""
        with self.pruning_inside(prompt):
            ids = self.model.generate(**prompt.arguments, max_new_tokens=max_new_tokens, do_sample=False)
        new = ids[:, prompt.arguments["input_ids"].shape[1] :]
        return [text.strip() for text in self.processor.batch_decode(new, skip_special_tokens=True)]

    def visual_by_layer(self, prompt: PrunedPrompt, row: int) -> list[int]:
        """Visual tokens of one row (with an image) that each decoder layer sees."""
        layers = len(self.adapter.llm.layers)
        if prompt.layer_pruner is not None:
            crops = prompt.crops[row]
            return [crops * n for n in prompt.layer_pruner.lengths(prompt.visual[row] // crops, layers)]
        return [prompt.entering[row]] * layers

    def query_tokens(self, question: str) -> int:
        """Tokens of a question through the query encoder."""
        return self._encoder().token_count(question)

    def _encoder(self) -> ClipQueryEncoder:
        if self.query_encoder is None:
            raise ValueError("this pruner needs the question, but no query encoder was loaded")
        return self.query_encoder
