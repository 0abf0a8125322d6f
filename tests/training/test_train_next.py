"""Training of the model with crops: what a step shows, and a training in parts to a folder that loads."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, LlavaNextForConditionalGeneration
from two_trainings import checkpoint, train_in_two

from script_exp.commands import train_tiny
from script_exp.shapes.next_scenes import NEXT_WORLD, paint_picture
from script_exp.shapes.scenes import FULL
from script_exp.tiny import WEIGHTS
from script_exp.training import train_crops, train_joint, train_vision
from script_exp.training.diet import Diet
from script_exp.training.next_model import build_next, packing, see_base, see_views, views
from script_exp.training.next_pools import shrunk
from script_exp.training.start import load_start
from script_exp.training.vision_features import hidden_states, to_pixels
from script_exp.training.vocabulary import WORDS


@torch.inference_mode()
def test_a_step_with_every_patch_shows_what_the_model_sees(monkeypatch):
    monkeypatch.setattr(train_crops, "mixed_precision", nullcontext)  # else it depends on the processor
    torch.manual_seed(0)
    stage, start = load_start(WEIGHTS, len(WORDS))
    llava = build_next(start)
    rng = np.random.default_rng(0)
    for rows, columns, crops, length in ((48, 48, 5, 2928), (24, 48, 3, 1752), (48, 36, 5, 2352)):
        scene = paint_picture(rng, 10, rows, columns)
        pixels, size = views(scene.image)
        assert pixels.shape[:2] == (1, crops)
        features = hidden_states(stage.clip, pixels[0], [FULL] * crops)[:, 1:].flatten(0, 1)
        source = packing(llava, size, crops)
        whole = train_crops._visual(llava, features[None], source[None])[0]
        seen = see_views(llava, scene)
        assert len(source) == len(seen) == length
        assert (source < 0).sum() == rows
        torch.testing.assert_close(whole, seen, atol=1e-4, rtol=1e-4)
        assert torch.equal(see_base(llava, scene), seen[:576])
        # A crop is the picture itself, so its first row of patches is the picture's.
        top = to_pixels(scene.image[None, :8, : min(192, 8 * columns)])[0]
        left = max(0, (48 - columns) * 4) if crops == 5 else 0
        torch.testing.assert_close(pixels[0, 1, :, :8, left:], top[..., : 192 - left], atol=1e-5, rtol=0)


def test_patches_are_dropped_uniformly_and_newlines_together(monkeypatch):
    source = torch.tensor([*range(600), *([*range(600, 620), -1] * 3)])
    rng, counts, with_newlines = np.random.default_rng(0), torch.zeros(len(source)), 0
    for _ in range(200):
        places = train_crops._shown(source, Diet(0, 2, 1, (0.25, 0.25)), rng)
        newlines = (source[places] < 0).sum(1).tolist()
        assert newlines in ([3, 3], [0, 0])
        assert (places.diff() > 0).all()
        assert places.shape[1] - newlines[0] == 165
        with_newlines += newlines[0] == 3
        counts += torch.bincount(places.flatten(), minlength=len(source))
    assert 70 < with_newlines < 130
    shares = counts[source >= 0] / 400
    assert 0.13 < shares.min() < shares.max() < 0.37
    base = train_crops._shown(source, Diet(train_crops.BASE_VIEW, 2, 1), rng)
    assert torch.equal(base, torch.arange(576).expand(2, -1))


def test_a_part_of_a_base_view_is_half_the_size_and_has_no_digits():
    for down, across in ((2, 2), (1, 2)):
        small = shrunk(np.random.default_rng(3), 20, 12, down, across)
        assert small.image.shape == (96, 96, 3)
        assert len(small.grounds) == 144
        assert not any(item.look.written for item in small.objects)
        rng = np.random.default_rng(1)
        assert NEXT_WORLD.ask(small, "digit", rng) is None
        assert NEXT_WORLD.ask(small, "count", rng) is not None


@pytest.mark.slow
def test_training_goes_on_where_it_was_cut_and_exports(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train_vision, "BATCHES", (4, 4, 2))
    for module in (train_joint, train_crops):
        small = tuple(replace(diet, batch=2, questions=4) for diet in module.DIETS)
        monkeypatch.setattr(module, "DIETS", small)
    weights = train_in_two(["--model", "next"], tmp_path, capsys)
    trained, joint = (checkpoint(tmp_path, stage)["module"] for stage in ("language", "joint"))
    assert not torch.equal(trained["lm_head.weight"], joint["llava.lm_head.weight"])
    tower = "vision_tower.encoder.layers.0.mlp.fc1.weight"
    assert torch.equal(trained[f"model.{tower}"], joint[f"llava.model.{tower}"])
    model = LlavaNextForConditionalGeneration.from_pretrained(weights)
    assert torch.equal(model.model.image_newline, trained["model.image_newline"])
    processor = AutoProcessor.from_pretrained(weights)
    picture = Image.new("RGB", (384, 288))
    inputs = processor(
        images=picture, text="USER: <image>\nis there a red star? ASSISTANT:", return_tensors="pt"
    )
    assert (inputs["input_ids"] == processor.image_token_id).sum() == 576 + 36 * 49
    assert model(**inputs).logits.isfinite().all()
    with pytest.raises(SystemExit):
        train_tiny.main(["--model", "next", "--polish-steps", "3"])
    assert "--polish-steps" in capsys.readouterr().err
