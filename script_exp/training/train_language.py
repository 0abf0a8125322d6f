"""Stage 2: train projector and language model on the frozen vision tower.

It begins on small windows with what is hardest to learn: whether something is there
(:func:`~script_exp.training.diet.chance_of_yes`). All kinds of question and full scenes follow.

In some of the steps, tokens are dropped blindly (uniformly over patches), which makes training cheaper and
favors no pruning method. Most steps see every patch of a window or a full scene.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPModel, LlavaForConditionalGeneration

from script_exp.training.architecture import Sizes, build_llava
from script_exp.training.diet import ALL, FIRST, Diet, chance_of_yes, positions
from script_exp.training.initialize import whiten_projector
from script_exp.training.optimization import Progress, Run, decay_groups
from script_exp.training.packing import answer_loss
from script_exp.training.precision import mixed_precision
from script_exp.training.vision_features import hidden_states, to_pixels
from script_exp.training.windows import Pool, ask_many

PEAK_RATE = 2e-3
DIETS = (
    Diet(0, 48, 8),
    Diet(1, 16, 16),
    Diet(1, 20, 16, (0.4, 1.0)),
    Diet(2, 12, 16, (0.1, 0.5)),
    Diet(2, 5, 20),
)
PHASES = (
    (0.25, (0.8, 0.2, 0.0, 0.0, 0.0)),
    (0.6, (0.1, 0.5, 0.15, 0.25, 0.0)),
    (1.0, (0.05, 0.25, 0.1, 0.25, 0.35)),
)
"""Until this share of all steps, draw diet i with this probability."""
LEANING_UNTIL, FIRST_UNTIL = 0.12, 0.25
"""Until these shares of all steps, yes-or-no answers lean, and only the first kinds are asked."""
LEANING = 0.85


@torch.inference_mode()
def cache_features(clip: CLIPModel, pool: Pool) -> Tensor:
    """Return hidden_states[-2] of every window without CLS, (windows, patches, width) bf16."""
    parts = []
    batch = 4608 // pool.side**2
    for start in range(0, len(pool.scenes), batch):
        chosen = slice(start, start + batch)
        windows = [scene.window for scene in pool.scenes[chosen]]
        with mixed_precision():
            parts.append(hidden_states(clip, to_pixels(pool.images[chosen]), windows)[:, 1:].bfloat16())
    return torch.cat(parts)


def _losses(
    llava: LlavaForConditionalGeneration, pools: tuple[Pool, ...], cached: list[Tensor], run: Run
) -> dict[str, Tensor]:
    number = run.draw(PHASES)
    diet = DIETS[number]
    pool, rng = pools[diet.pool], run.rng
    chosen = rng.integers(0, len(pool.scenes), diet.batch)
    features = cached[diet.pool][torch.from_numpy(chosen)]
    patches = features.shape[1]
    places = diet.kept(patches, rng)
    features = features.gather(1, places[..., None].expand(-1, -1, features.shape[-1]))
    places = positions(places, patches, rng)
    share = run.step / run.steps
    leaning = LEANING if share < LEANING_UNTIL else 0.5
    drawn = diet.kinds(FIRST if share < FIRST_UNTIL else ALL, rng)
    scenes = [pool.scenes[index] for index in chosen]
    asked = [
        ask_many(scene, kinds, rng, chance_of_yes(scene, leaning))
        for scene, kinds in zip(scenes, drawn, strict=True)
    ]
    return {f"answer/{number}": answer_loss(llava, features, places, asked)}


def train_language(
    clip: CLIPModel,
    pools: tuple[Pool, Pool, Pool],
    sizes: Sizes,
    steps: int,
    seed: int,
    checkpoint: Path,
    progress: Progress,
    monitor: Callable[[LlavaForConditionalGeneration], dict[str, float]],
) -> LlavaForConditionalGeneration:
    """Train projector and language model for ``steps`` steps, continuing from ``checkpoint`` if it exists."""
    torch.manual_seed(seed)
    llava = build_llava(sizes, clip)
    llava.model.vision_tower.requires_grad_(False)
    cached = [cache_features(clip, pool) for pool in pools]
    progress.note("vision features cached")
    sample = cached[1].reshape(-1, sizes.vision_width)
    whiten_projector(llava, sample[torch.randperm(len(sample))[:100_000]].float())
    optimizer = torch.optim.AdamW(decay_groups(llava, 0.05), lr=PEAK_RATE, betas=(0.9, 0.98), foreach=True)
    run = Run(llava, optimizer, steps, PEAK_RATE, seed, checkpoint)
    run.train("language", lambda: _losses(llava, pools, cached, run), progress, lambda: monitor(llava))
    return llava.eval()
