"""A slow reference for pruning inside the LLM: no hooks, no cache, one row at a time.

Includes small prompts to compare on.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from checkpoints import BOS, IMAGE, PAD
from torch import Tensor

from script_exp.models.layer_hooks import layer_pruning
from script_exp.pruners import FastV, Pyramid
from script_exp.pruners.contract.layer_signals import Origin, TokensKnown
from script_exp.pruners.contract.signals import SALIENCY

GRID, LAYERS, NEW_TOKENS = 6, 6, 9
VISUAL = GRID**2
TEXTS = [([BOS, 6, 7], [9, 10, 11, 12]), ([BOS, 8], [20, 9])]  # before and behind the image
PRUNERS = [
    Pyramid(budget=4, budget_as="after"),
    Pyramid(budget=22),
    Pyramid(budget=1, stages=[1, 2, 3, 4, 5], budget_as="after"),
    Pyramid(budget=20, stages=[2, 5], budget_as="after"),
    FastV(budget=9, layer=3, budget_as="after"),
]


@dataclass
class Row:
    """One prompt without padding: embeddings (1, n, d), visual (n,) and position ids (..., 1, n).

    ``deep`` is what the first layers add to their output, for each of the visual tokens. ``image`` (n,) has
    separators, too, behind which the text begins; None: ``visual``.
    """

    embeddings: Tensor
    visual: Tensor
    positions: Tensor
    deep: Sequence[Tensor] = ()
    image: Tensor | None = None


def llava_inputs(rows=2, images=1):
    """A left-padded batch; row r has ``images`` images in front of its text."""
    prompts = [before + [IMAGE] * (VISUAL * images) + after for before, after in TEXTS[:rows]]
    pixels = torch.randn(rows * images, 3, 4 * GRID, 4 * GRID, generator=torch.Generator().manual_seed(1))
    return padded(prompts) | {"pixel_values": pixels}


def padded(prompts):
    length = max(map(len, prompts))
    ids = torch.tensor([[PAD] * (length - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return {"input_ids": ids, "attention_mask": mask}


@torch.inference_mode()
def llava_row(model, inputs, row, images=1):
    ids = inputs["input_ids"][row][inputs["attention_mask"][row].bool()]
    visual = ids == IMAGE
    embeddings = model.get_input_embeddings()(ids)
    if visual.any():
        pixels = inputs["pixel_values"][row * images : (row + 1) * images]
        embeddings[visual] = torch.cat(list(model.model.get_image_features(pixels).pooler_output))
    return Row(embeddings[None], visual, torch.arange(len(ids))[None])


@dataclass
class Stage:
    """What a method may look at before it drops tokens of one prompt; nothing is batched or padded.

    Attributes:
        number: of the stage, from 0.
        block: the layer before the stage; it got ``taken``: hidden states (1, size, d), rotary and mask.
        own: the stage's first layer; it is going to get ``hidden``.
        rotary: of the positions in force.
        embeddings: (prompt, d) what entered the LLM.
        visual, text: columns of ``hidden`` of the visual tokens, and of the tokens behind the image.
        places: which of the prompt's visual tokens the visual ones are.
        count: how many of them stay.
        positions: (..., 1, size) of ``hidden``.
        image: columns of the prompt's visual tokens before the first stage.
        known: what is known of these.
    """

    llm: Any
    number: int
    block: Any
    taken: tuple[torch.Tensor, Any, torch.Tensor]
    own: Any
    hidden: torch.Tensor
    rotary: Any
    mask: torch.Tensor
    embeddings: torch.Tensor
    visual: torch.Tensor
    text: torch.Tensor
    places: torch.Tensor
    count: int
    positions: torch.Tensor
    image: list[int]
    known: TokensKnown

    @property
    def before(self) -> torch.Tensor:
        """(heads, size, size) attention of the layer before the stage."""
        return attention(self.block, *self.taken)


def fastv(stage: Stage) -> torch.Tensor:
    """Which of the visual tokens stay: those with the highest attention of the prompt's last token."""
    return best(stage.before[:, stage.text[-1], stage.visual].mean(dim=0), stage.count)


def best(scores: torch.Tensor, count: int) -> torch.Tensor:
    return scores.argsort(descending=True, stable=True)[:count]  # a window hides some: all 0


@dataclass
class Merged:
    """Which of the visual tokens stay, and states (d,) of new ones, which stand behind the image.

    Or states of those that stay, ascending, and how many tokens each stands for.
    """

    stay: torch.Tensor
    new: list[torch.Tensor]
    states: list[torch.Tensor] | None = None
    sizes: list[int] | None = None


@torch.inference_mode()
def reference(
    model,
    row,
    new,
    schedule,
    window=None,
    choose: Callable[[Stage], Any] = fastv,
    renumber=False,
    llm=None,
    shape=None,
    known=None,
):
    """Logits (steps, vocabulary) after the prompt and after each of the ids ``new`` but the last.

    One pass over the prompt and ``new`` together: attention is causal, so each position is what a pass that
    stops there would give. What a method looks at ends with the prompt's last token.

    Args:
        schedule: visual tokens that stay from a layer on.
        window: (layers,) sliding window of each layer, or None; it counts the tokens that are left.
        choose: the method.
        renumber: whether positions count anew after a stage.
        llm: the decoder; None: where LLaVA has it.
        shape: rotary embeddings and mask of a layer, from hidden states, positions, the columns of the whole
            sequence that are left and the layer's index; None: causal, within the window.
        known: of the visual tokens; None: :func:`made_known`.
    """
    llm = llm or model.model.language_model
    shape = shape or (
        lambda hidden, positions, _, index: shaped(llm, hidden, positions, window and window[index])
    )
    prompt, new = len(row.visual), new[:-1]
    hidden = torch.cat([row.embeddings, model.get_input_embeddings()(new)[None]], dim=1)
    following = row.positions.amax() + 1 + torch.arange(len(new)).expand(*row.positions.shape[:-1], -1)
    positions = torch.cat([row.positions, following], dim=-1)
    alive = torch.arange(prompt + len(new))  # columns of the whole sequence that are left
    weights = torch.zeros(len(alive))  # added to the attention to each column
    taken = None  # what the layer before got, of the prompt
    image = row.visual.nonzero()[:, 0]
    known = made_known(len(image)) if known is None else known
    behind_image = prompt - 1 - (row.visual if row.image is None else row.image).nonzero()[-1:, 0]
    asking = max(1, int(behind_image)) if len(behind_image) else 1
    for index, block in enumerate(llm.layers):
        rotary, mask = shape(hidden, positions, alive, index)
        if index in schedule:
            left = int((alive < prompt).sum())
            now = row.visual[alive[:left]].nonzero()[:, 0]
            stage = Stage(
                llm, sorted(schedule).index(index), llm.layers[index - 1], taken, block, hidden[:, :left],
                [part[..., :left, :] for part in rotary], mask[..., :left, :left], row.embeddings[0], now,
                torch.arange(left - asking, left),
                (image == alive[now][:, None]).nonzero()[:, 1], schedule[index],
                positions[..., :left], image.tolist(), known,
            )  # fmt: skip
            choice = choose(stage)
            added = choice.new if isinstance(choice, Merged) else []
            if isinstance(choice, Merged) and choice.states is not None:
                hidden, weights = hidden.clone(), weights.clone()
                for place, state, size in zip(choice.stay, choice.states, choice.sizes, strict=True):
                    hidden[0, now[place]], weights[now[place]] = state, math.log(size)
            stay = torch.ones(len(alive), dtype=torch.bool)
            stay[now] = False
            stay[now[choice.stay if isinstance(choice, Merged) else choice]] = True
            order = stay.nonzero()[:, 0].tolist()
            if added:  # behind the image's last token, and visual as it is
                behind = int((torch.tensor(order) <= now[-1]).sum())
                order[behind:behind] = [int(now[-1])] * len(added)
            alive, hidden, positions = alive[order], hidden[:, order], positions[..., order]
            weights = weights[order]
            for number, state in enumerate(added):
                hidden[0, behind + number] = state
            if renumber:
                positions = torch.arange(len(alive))[None]
            rotary, mask = shape(hidden, positions, alive, index)
        left = int((alive < prompt).sum())
        taken = hidden[:, :left], [part[..., :left, :] for part in rotary], mask[..., :left, :left]
        mask = mask + weights if hasattr(block, "self_attn") else None  # linear attention has none
        hidden = block(hidden, attention_mask=mask, position_embeddings=rotary)
        for level, column in zip(row.deep[index] if index < len(row.deep) else (), image, strict=False):
            hidden[0, alive == column] += level
    return model.lm_head(llm.norm(hidden))[0, -len(new) - 1 :]


def shaped(llm, hidden, positions, window):
    """Rotary embeddings, and a causal mask within a window."""
    size = hidden.shape[1]
    distance = torch.arange(size)[:, None] - torch.arange(size)
    hidden_keys = (distance < 0) | (distance >= (window or size))
    mask = torch.zeros(size, size).masked_fill(hidden_keys, -torch.inf)[None, None]
    return llm.rotary_emb(hidden, positions), mask


def attention(block, hidden, rotary, mask):
    """(heads, size, size) attention of a layer; without positions if ``rotary`` is None."""
    query, key = projected(block, hidden, rotary)
    key = key.repeat_interleave(query.shape[0] // key.shape[0], dim=0)
    scores = capped(query @ key.mT * block.self_attn.scaling, block.self_attn, "attn_logit_softcapping")
    return (scores + mask[0]).softmax(dim=-1)


def capped(scores, owner, name):
    """Scores within the softcap that a layer or a config has, if it has one."""
    cap = getattr(owner, name, None)
    return scores if cap is None else (scores / cap).tanh() * cap


def projected(block, hidden, rotary):
    """Queries (heads, size, width) and keys (key heads, size, width)."""
    attention = block.self_attn
    normed = block.input_layernorm(hidden)
    shape = (1, normed.shape[1], -1, attention.head_dim)
    every = attention.q_proj(normed).view(1, normed.shape[1], attention.config.num_attention_heads, -1)
    query, key = every[..., : attention.head_dim], attention.k_proj(normed).view(shape)  # behind it is a gate
    if hasattr(attention, "q_norm"):
        query, key = attention.q_norm(query), attention.k_norm(key)
    query, key = query.transpose(1, 2), key.transpose(1, 2)
    if rotary is not None:
        query, key = sys.modules[type(attention).__module__].apply_rotary_pos_emb(query, key, *rotary)
    return query[0], key[0]


def generate(model, inputs, pruner, visual=None, crops=None, **more):
    visual = inputs["input_ids"] == IMAGE if visual is None else visual
    crops = [1] * len(visual) if crops is None else crops
    llm, counts = model.model.language_model, visual.sum(dim=1).tolist()
    with (
        torch.inference_mode(),
        layer_pruning(llm, pruner, visual, crops, known=list(map(made_known, counts))),
    ):
        return model.generate(
            **inputs,
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
            **more,
        )


def places(tokens):
    """Row and column of each visual token of an image of the tests, told by their number."""
    columns = {VISUAL: GRID, 20: 5, 18: 3}.get(tokens)
    return columns and torch.tensor([divmod(place, columns) for place in range(tokens)])


def made_known(tokens):
    return TokensKnown(
        places(tokens), {SALIENCY: saliency(tokens)}, Origin(*made_origin(tokens).unbind(dim=1))
    )


def made_origin(tokens):
    """Video, frame, place in it and part of each visual token: frames of 6 in two videos, some gone."""
    left = [one for one in range(2 * tokens) if one % 4 != 3 and one % 7 != 2][:tokens]
    rows = [(frame > 3, frame, place if one % 11 else -1, frame // 2 + 9 * (place < 2))
            for one in left for frame, place in [divmod(one, 6)]]  # fmt: skip
    return torch.tensor(rows, dtype=torch.long).reshape(-1, 4)


def saliency(tokens):
    """A made attention of the vision tower to each visual token of an image."""
    return torch.rand(tokens, generator=torch.Generator().manual_seed(tokens))


def check(model, output, rows, schedules, window=None, **method):
    """The generated ids and the logits at every step against the reference."""
    for index, (row, schedule) in enumerate(zip(rows, schedules, strict=True)):
        new = output.sequences[index, -NEW_TOKENS:]
        wanted = reference(model, row, new, schedule, window, **method)
        assert new.tolist() == wanted.argmax(dim=-1).tolist()
        got = torch.stack([step[index] for step in output.logits])
        torch.testing.assert_close(got, wanted, atol=2e-4, rtol=1e-4)


def held(output):
    return [layer.keys.shape[2] for layer in output.past_key_values.layers]
