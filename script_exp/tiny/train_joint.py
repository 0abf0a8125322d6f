"""Stage 3: a joint fine-tune of tower, projector and language model on questions and answers.

The frozen tower of stage 2 was never asked for what the answers need. Here the answers reach the tower,
while the naming
loss of stage 1 goes on, so that patches and texts stay in one space. Still nothing but image-level
supervision.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from script_exp.tiny.diet import Diet, positions
from script_exp.tiny.optimization import Progress, Run
from script_exp.tiny.packing import BEFORE_IMAGE, pack
from script_exp.tiny.train_vision import VisionStage, naming_targets
from script_exp.tiny.vision_features import hidden_states, patch_embeddings, position_ids, to_pixels
from script_exp.tiny.windows import Pool, ask_many

PEAK_RATE = 1e-3
VISION_SHARE = 0.4
"""Learning rate of the CLIP modules relative to the language model's."""
NAMING_EVERY, NAMING_WEIGHT = 3, 0.3


DIETS = (Diet(1, 20, 12), Diet(1, 20, 12, (0.4, 1.0)), Diet(2, 8, 14, (0.1, 0.5)), Diet(2, 5, 16))
PHASES = ((0.3, (0.5, 0.1, 0.0, 0.4)), (1.0, (0.25, 0.05, 0.2, 0.5)))


class JointStage(nn.Module):
    """The CLIP of stage 1 with its training parameters, and the LLaVA, whose tower is CLIP's own here."""

    def __init__(self, vision: VisionStage, llava: LlavaForConditionalGeneration) -> None:
        super().__init__()
        self.vision = vision
        self.llava = llava
        llava.model.vision_tower = vision.clip.vision_model
        vision.requires_grad_(True)

    def groups(self) -> list[dict[str, object]]:
        """Two parameter groups, CLIP and the rest, each with its share of the learning rate."""
        clip = list(self.vision.parameters())
        known = {id(parameter) for parameter in clip}
        rest = [parameter for parameter in self.llava.parameters() if id(parameter) not in known]
        return [{"params": clip, "share": VISION_SHARE}, {"params": rest, "share": 1.0}]


def _loss(stage: JointStage, pools: tuple[Pool, ...], diet: Diet, run: Run) -> dict[str, Tensor]:
    pool, rng, llava, clip = pools[diet.pool], run.rng, stage.llava, stage.vision.clip
    chosen = rng.integers(0, len(pool.scenes), diet.batch)
    windows = [pool.scenes[index].window for index in chosen]
    places = diet.kept(pool.side**2, rng)
    drawn = diet.kinds(rng)
    asked = [ask_many(pool.scenes[index], kinds, rng) for index, kinds in zip(chosen, drawn, strict=True)]
    with torch.autocast("cpu", torch.bfloat16):
        states = hidden_states(clip, to_pixels(pool.images[chosen]), windows)[:, 1:]
        losses = {"position": 0.25 * stage.vision.position_loss(states, position_ids(windows)[:, 1:])}
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
    losses[f"answer/{DIETS.index(diet)}"] = F.cross_entropy(logits.float(), packed.labels[answered])
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
    """Fine-tune everything for `steps` steps, continuing from `checkpoint` where it exists."""
    torch.manual_seed(seed)
    stage.llava.model.language_model.set_attn_implementation("sdpa")
    optimizer = torch.optim.AdamW(
        stage.groups(), lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.03, foreach=True
    )
    run = Run(stage, optimizer, steps, PEAK_RATE, seed, checkpoint)
    run.resume()
    while run.step < steps:
        mix = next(mix for until, mix in PHASES if run.step < until * steps)
        diet = DIETS[int(run.rng.choice(len(DIETS), p=mix))]
        run.update(_loss(stage, pools, diet, run))
        progress.step("joint", run)
        if monitor is not None and run.step % 400 == 0:
            progress.note(f"joint step {run.step}: {monitor(stage.llava)}")
    run.save()
    stage.eval()
    return stage
