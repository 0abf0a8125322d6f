"""Measurements during training, on scenes from a separate seed: never those of the benchmark."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.stats import mannwhitneyu
from torch import Tensor
from transformers import CLIPModel, LlavaForConditionalGeneration, LlavaNextForConditionalGeneration

from script_exp.shapes.questions import FIRST_WORLD
from script_exp.shapes.scenes import FULL, Scene
from script_exp.shapes.world import World
from script_exp.training.packing import BEFORE_IMAGE
from script_exp.training.vision_features import hidden_states, patch_embeddings, text_embeddings, to_pixels
from script_exp.training.vocabulary import IDS, encode

MONITOR_SEED = 900_001
COVERED = 0.15
"""A patch counts as showing an object if the object covers more than this share of its pixels."""


def area_under_curve(relevance: np.ndarray, positive: np.ndarray) -> float:
    """Return the probability that a positive patch scores above another one; ties count half."""
    wins = mannwhitneyu(relevance[positive], relevance[~positive]).statistic
    return float(wins / (positive.sum() * (~positive).sum()))


def _means(found: dict[str, list[float]]) -> dict[str, float]:
    """Return the mean by kind, and over all values as "all"."""
    everything = [value for values in found.values() for value in values]
    return {name: round(float(np.mean(values)), 3) for name, values in [*found.items(), ("all", everything)]}


@torch.inference_mode()
def relevance_auc(
    clip: CLIPModel, scenes: int, seed: int = MONITOR_SEED, world: World = FIRST_WORLD
) -> dict[str, float]:
    """Return the mean AUC of cos(patch, question) for the patches a question needs, by kind and over all."""
    found: dict[str, list[float]] = defaultdict(list)
    for scene, questions in world.held_out(seed, scenes):
        patches = patch_embeddings(clip, hidden_states(clip, to_pixels(scene.image[None]), [FULL])[:, 1:])[0]
        texts = text_embeddings(clip, [question.text for question in questions])
        for question, relevance in zip(questions, (texts @ patches.T).numpy(), strict=True):
            coverage = [scene.objects[index].coverage for index in question.objects]
            if coverage and (positive := np.sum(coverage, 0) > COVERED).any():
                found[question.kind].append(area_under_curve(relevance, positive))
    return _means(found)


def see_whole(llava: LlavaForConditionalGeneration, scene: Scene) -> Tensor:
    """Return the visual tokens (576, width) of a scene that is a single view."""
    visual: Tensor = llava.model.get_image_features(to_pixels(scene.image[None])).pooler_output[0]
    return visual


@torch.inference_mode()
def accuracy(
    llava: LlavaForConditionalGeneration | LlavaNextForConditionalGeneration,
    scenes: int,
    seed: int = MONITOR_SEED,
    blind: bool = False,
    world: World = FIRST_WORLD,
    see: Callable[[Any, Scene], Tensor] = see_whole,
) -> dict[str, float]:
    """Return the share of questions whose answer is the most likely next token, by kind and over all.

    ``blind`` leaves out the visual tokens, to measure what the text alone achieves. ``see`` returns those of
    a scene.
    """
    found: dict[str, list[float]] = defaultdict(list)
    embed = llava.get_input_embeddings()
    for scene, questions in world.held_out(seed, scenes):
        visual = see(llava, scene)
        before = embed(torch.tensor(BEFORE_IMAGE))
        for question in questions:
            after = embed(torch.tensor(encode(f"{question.text} assistant:", embed.num_embeddings)))
            prompt = torch.cat([before, after] if blind else [before, visual, after])[None]
            states = llava.model.language_model(inputs_embeds=prompt, use_cache=False).last_hidden_state
            found[question.kind].append(int(llava.lm_head(states[0, -1]).argmax()) == IDS[question.answer])
    return _means(found)
