"""Full-size models with random weights, for speed measurements where no checkpoint can be downloaded.

Speed does not depend on the values of the weights as long as they are finite. Accuracy does, so nothing here
may ever lead to an accuracy number.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import (
    AutoModelForImageTextToText,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    PreTrainedTokenizerFast,
)

from script_exp.errors import SettingError
from script_exp.models.families.traits import FamilyTraits
from script_exp.models.loading.memory import check_memory

_CLIP_BOS, _CLIP_EOS = 49406, 49407
_CHAT_TEMPLATE = (
    "{% for message in messages %}USER: {% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}VISUAL\n{% endif %}"
    "{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %} ASSISTANT:{% endif %}"
)


class RandomClipText(NamedTuple):
    """The text side of a CLIP with random weights.

    Attributes:
        text: a ``CLIPTextModelWithProjection``, in float32.
        tokenizer: a byte tokenizer; if asked to truncate, it does so at the 77 positions of ``text``.
        visual_projection: (joint width, tower width), in float32.
    """

    text: Any
    tokenizer: Any
    visual_projection: Tensor


def random_model(
    config: Any, *, device: torch.device | str, dtype: torch.dtype, attention: str, seed: int = 0
) -> Any:
    """Build the multimodal model of ``config``, with weights drawn on ``device`` in ``dtype``.

    It is built without memory and then allocated in place, so a model of 14 GB needs 14 GB on ``device`` and
    almost nothing elsewhere. Weights are normal with the standard deviation ``initializer_range`` of the
    LLM's config, norms one, biases zero. The same seed gives the same weights on the same kind of device.

    Args:
        config: config of a model that ``AutoModelForImageTextToText`` knows; it is not modified.
        device: where the weights go.
        dtype: dtype of the weights; rotary frequencies stay float32, as when a checkpoint is loaded.
        attention: name of the attention kernel in transformers.
        seed: seed of the weights.

    Raises:
        SettingError: if the device has less memory free than the weights take.
    """
    config = copy.deepcopy(config)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype, attn_implementation=attention)
    check_memory(model, device)
    return _materialize(model, device, config.get_text_config().initializer_range, seed)


def random_tokenizer(config: Any, family: type[FamilyTraits]) -> Any:
    """Build a byte tokenizer whose special tokens have the ids that ``config`` names.

    A text has more tokens than with the real tokenizer, about one per character. A Llama text begins with
    the start token, as with Llama's tokenizer; a Qwen text has none. The chat template is that of LLaVA-1.5
    on the hub, with the family's own placeholders.

    Args:
        config: config of the multimodal model.
        family: its adapter.

    Raises:
        SettingError: if the vocabulary is too small for 256 bytes and the special tokens.
    """
    text = config.get_text_config()
    ids = (getattr(text, f"{role}_token_id", None) for role in ("bos", "eos", "pad"))  # some lack a role
    start, end, padding = map(_first, ids)
    specials = {
        **family.words_of(config),
        "<image>": config.image_token_id,
        "<video>": getattr(config, "video_token_id", None),
        "<s>": start,
        "</s>": end,
        "<pad>": next((token for token in (padding, start, end) if token is not None), None),
    }
    template = "<s> $A" if text.model_type == "llama" else "$A"
    tokenizer = _byte_tokenizer(specials, text.vocab_size, template)
    tokenizer.chat_template = _CHAT_TEMPLATE.replace("VISUAL", family.template_text(tokenizer, config))
    return tokenizer


def random_clip_text(vision_width: int, device: torch.device | str, seed: int = 0) -> RandomClipText:
    """Build the text side of openai/clip-vit-large-patch14-336 with random weights, in float32.

    Args:
        vision_width: v, the width of the vision tower whose patches are projected: 1024 for ViT-L.
        device: where the weights go.
        seed: seed of the weights.

    Returns:
        Text tower, tokenizer and the (768, v) visual projection.
    """
    config = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        max_position_embeddings=77,
        projection_dim=768,
        bos_token_id=_CLIP_BOS,
        eos_token_id=_CLIP_EOS,
        pad_token_id=_CLIP_EOS,
    )
    with torch.device("meta"):
        text = CLIPTextModelWithProjection(config)
    text = _materialize(text, device, config.initializer_range, seed)
    generator = torch.Generator(device).manual_seed(seed + 1)
    projection = torch.empty(config.projection_dim, vision_width, device=device)
    projection.normal_(std=vision_width**-0.5, generator=generator)
    specials = {"<s>": _CLIP_BOS, "</s>": _CLIP_EOS, "<pad>": _CLIP_EOS}
    tokenizer = _byte_tokenizer(specials, config.vocab_size, "<s> $A </s>")
    tokenizer.model_max_length = config.max_position_embeddings
    return RandomClipText(text, tokenizer, projection)


def _materialize(model: Any, device: torch.device | str, std: float, seed: int) -> Any:
    """Give a model on the meta device its buffers and random weights, on ``device``."""
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, torch.empty_like(buffer, device=device))
    for parameter in model.parameters():
        parameter._is_hf_initialized = True  # drawn below; on the meta device each would run in Python
    model.initialize_weights()  # fills the buffers
    generator = torch.Generator(device).manual_seed(seed)
    for name, parameter in list(model.named_parameters()):
        parent, _, leaf = name.rpartition(".")
        values = _draw(leaf, torch.empty_like(parameter, device=device), std, generator)
        setattr(model.get_submodule(parent), leaf, nn.Parameter(values, parameter.requires_grad))
    model.tie_weights()
    return model.eval()


@torch.no_grad()
def _draw(leaf: str, values: Tensor, std: float, generator: torch.Generator) -> Tensor:
    """Fill a parameter by the last part of its name: biases 0, norms 1, everything else normal."""
    if leaf.endswith("bias"):
        return values.zero_()
    if leaf == "weight" and values.ndim == 1:
        return values.fill_(1.0)
    return values.normal_(std=std, generator=generator)


def _byte_tokenizer(specials: Mapping[str, int | None], size: int, template: str) -> Any:
    """Build a byte-level tokenizer with ``specials`` at their ids and the bytes at the lowest free ones."""
    names: dict[int, str] = {}  # two roles may share an id, as padding and end do in CLIP
    for name, token in specials.items():
        if token is not None:
            names.setdefault(token, name)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    needed = max([*names, len(alphabet) + len(names) - 1]) + 1
    if size < needed:
        raise SettingError("vocab_size", size, f"at least {needed}, for 256 bytes and the tokens {names}")
    free: Iterable[int] = (token for token in range(size) if token not in names)
    vocabulary = {name: token for token, name in names.items()}
    vocabulary |= dict(zip(alphabet, free, strict=False))
    core = Tokenizer(models.BPE(vocabulary, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    roles = {
        role: names[token]
        for role, name in (("bos_token", "<s>"), ("eos_token", "</s>"), ("pad_token", "<pad>"))
        if (token := specials[name]) is not None
    }
    used = [(name, vocabulary[name]) for name in set(template.split()) & set(vocabulary)]
    core.post_processor = processors.TemplateProcessing(single=template, special_tokens=used)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        additional_special_tokens=list(names.values()),
        padding_side="left",
        **roles,
    )


def _first(token: int | list[int] | None) -> int | None:
    return token[0] if isinstance(token, list) else token
