"""Stage 3: tower, projector and language model together, on questions and answers.

The frozen tower of stage 2 was never asked for what the answers need, digits for example. Here the answers
reach the tower, while the naming loss of stage 1 goes on, so that patches and texts stay in one space. Still
nothing but image-level supervision.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from script_exp.tiny.diet import LAST, Diet, positions
from script_exp.tiny.optimization import Progress, Run, decay_groups
from script_exp.tiny.packing import BEFORE_IMAGE, pack
from script_exp.tiny.train_vision import VisionStage, naming_targets
from script_exp.tiny.vision_features import hidden_states, patch_embeddings, position_ids, to_pixels
from script_exp.tiny.windows import Pool, ask_many

PEAK_RATE = 1e-3
VISION_SHARE = 0.1
"""Learning rate of the CLIP modules relative to the language model's. With 0.5 the features changed faster
than the language model followed: it lost shapes and digits in the first 500 steps."""
POSITION_WEIGHT = 0.25
NAMING_EVERY, NAMING_WEIGHT = 3, 0.3
DIETS = (
    Diet(0, 56, 6),
    Diet(1, 18, 12),
    Diet(1, 24, 12, (0.4, 1.0)),
    Diet(2, 10, 14, (0.1, 0.5)),
    Diet(2, 5, 18),
)
PHASES = (
    (0.5, (0.1, 0.4, 0.1, 0.2, 0.2)),
    (1.0, (0.05, 0.3, 0.1, 0.15, 0.4)),
)
"""Until this share of all steps, draw diet i with this probability."""


class JointStage(nn.Module):
    """The CLIP of stage 1 with its training parameters, and a LLaVA whose tower is CLIP's own."""

    def __init__(self, vision: VisionStage, llava: LlavaForConditionalGeneration) -> None:
        super().__init__()
        self.vision = vision
        self.llava = llava
        llava.model.vision_tower = vision.clip.vision_model
        vision.requires_grad_(True)

    def groups(self) -> list[dict[str, object]]:
        """Parameter groups with their share of the learning rate: CLIP, and the rest."""
        tower = self.llava.model.vision_tower
        self.llava.model.vision_tower = None
        rest = decay_groups(self.llava, 0.05)
        self.llava.model.vision_tower = tower
        clip = decay_groups(self.vision, 0.03)
        return [group | {"share": VISION_SHARE} for group in clip] + [
            group | {"share": 1.0} for group in rest
        ]


def _loss(stage: JointStage, pools: tuple[Pool, ...], diet: Diet, run: Run) -> dict[str, Tensor]:
    pool, rng, llava, clip = pools[diet.pool], run.rng, stage.llava, stage.vision.clip
    # Measured on CPU under bf16 autocast: eager is faster for the short sequences, sdpa for the others.
    llava.model.language_model.set_attn_implementation("eager" if diet.pool == 0 else "sdpa")
    chosen = rng.integers(0, len(pool.scenes), diet.batch)
    windows = [pool.scenes[index].window for index in chosen]
    places = diet.kept(pool.side**2, rng)
    drawn = diet.kinds(LAST, rng)
    asked = [ask_many(pool.scenes[index], kinds, rng) for index, kinds in zip(chosen, drawn, strict=True)]
    with torch.autocast("cpu", torch.bfloat16):
        states = hidden_states(clip, to_pixels(pool.images[chosen]), windows)[:, 1:]
        features = states.gather(1, places[..., None].expand(-1, -1, states.shape[-1]))
        visual = llava.model.multi_modal_projector(features)
        packed = pack(llava, visual, positions(places, pool.side**2, rng) + len(BEFORE_IMAGE), asked)
        outputs = llava.model.language_model(
            inputs_embeds=packed.embeddings,
            position_ids=packed.positions,
            attention_mask=packed.mask,
            use_cache=False,
        ).last_hidden_state[:, -packed.labels.shape[1] :]
        answered = packed.labels >= 0
        logits = llava.lm_head(outputs[answered])
    losses = {f"answer/{DIETS.index(diet)}": F.cross_entropy(logits.float(), packed.labels[answered])}
    losses["position"] = POSITION_WEIGHT * stage.vision.position_loss(states, position_ids(windows)[:, 1:])
    if run.step % NAMING_EVERY == 0:
        with torch.autocast("cpu", torch.bfloat16):
            embedded = patch_embeddings(clip, states)
        texts, labels = naming_targets(pool, chosen, rng)
        losses["naming"] = NAMING_WEIGHT * stage.vision.naming_loss(embedded, texts, labels)
    return losses


def train_joint(
    stage: JointStage,
    pools: tuple[Pool, Pool, Pool],
    steps: int,
    seed: int,
    checkpoint: Path,
    progress: Progress,
    monitor: Callable[[LlavaForConditionalGeneration], dict[str, float]] | None = None,
) -> JointStage:
    """Train everything for `steps` steps, continuing from `checkpoint` where it exists."""
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(stage.groups(), lr=PEAK_RATE, betas=(0.9, 0.98), foreach=True)
    run = Run(stage, optimizer, steps, PEAK_RATE, seed, checkpoint)
    run.resume()
    while run.step < steps:
        mix = next(mix for until, mix in PHASES if run.step < until * steps)
        diet = DIETS[int(run.rng.choice(len(DIETS), p=mix))]
        run.update(_loss(stage, pools, diet, run))
        progress.step("joint", run)
        if monitor is not None and run.step % 500 == 0:
            progress.note(f"joint step {run.step}: {monitor(stage.llava)}")
    run.save()
    stage.eval()
    return stage
