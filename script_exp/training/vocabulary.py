"""The word list shared by the language model and the CLIP text tower, and the tokenizers built from it."""

from __future__ import annotations

import re

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from script_exp.shapes.questions import NUMBERS, PLURALS, YES_NO
from script_exp.shapes.sprites import COLORS, DIGITS, GROUNDS, SHAPES
from script_exp.shapes.words import PRINTED

SPECIAL = ("<pad>", "<unk>", "<s>", "</s>", "<image>")
PAD, UNKNOWN, BEGIN, END, IMAGE = range(len(SPECIAL))
"""Token ids. END is deliberately not 2; with 2, CLIP's text tower in transformers pools at the largest id."""

_SYNTAX = (
    "user assistant : ? . , what color shape is the a an object there are both and how many digit on sign "
    "where left right of above below ground in with northwest northeast southwest southeast objects scene"
)
WORDS = tuple(
    dict.fromkeys(
        [
            *SPECIAL,
            *_SYNTAX.split(),
            *COLORS,
            *SHAPES,
            *PLURALS.values(),
            *GROUNDS,
            *NUMBERS,
            *YES_NO,
            *DIGITS,
        ]
    )
)
SECOND_WORDS = tuple(dict.fromkeys([*WORDS, "label", "word", "largest", "has", *PRINTED]))
"""Those of the second world: the same ones first, so that a model that knows only ``WORDS`` can go on."""
IDS = {word: index for index, word in enumerate(SECOND_WORDS)}
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() }}: "
    "{% if message['content'] is string %}{{ message['content'] }} {% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>\n"
    "{% else %}{{ part['text'] }} {% endif %}"
    "{% endfor %}{% endif %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def encode(text: str, known: int = len(WORDS)) -> list[int]:
    """Return the ids of a text without special tokens; splits like the tokenizers, without their overhead.

    ``known`` is the number of words that the model knows: the first ones of ``SECOND_WORDS``.
    """
    ids = (IDS.get(word, UNKNOWN) for word in re.findall(r"\w+|[^\w\s]+", text.lower()))
    return [index if index < known else UNKNOWN for index in ids]


def build_tokenizer(template: str, length: int, known: int = len(WORDS)) -> PreTrainedTokenizerFast:
    """Build a word-level tokenizer; ``template`` puts ``<s>`` and ``</s>`` around the text ``$A``.

    ``known`` is as in :func:`encode`.
    """
    ids = {word: index for word, index in IDS.items() if index < known}
    core = Tokenizer(models.WordLevel(ids, unk_token=SPECIAL[UNKNOWN]))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[(SPECIAL[BEGIN], BEGIN), (SPECIAL[END], END)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=SPECIAL[PAD],
        unk_token=SPECIAL[UNKNOWN],
        bos_token=SPECIAL[BEGIN],
        eos_token=SPECIAL[END],
        additional_special_tokens=[SPECIAL[IMAGE]],
        padding_side="left" if template.startswith(SPECIAL[BEGIN]) and "</s>" not in template else "right",
        model_max_length=length,
    )
