"""GLM-4.1V on videos, whose placeholder is that of images, with times as words; and Qwen2-VL on videos."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from families import build, picture, pruned_rows
from transformers import Glm4vProcessor

from script_exp.benchmarks.reading.frame_count import Frames
from script_exp.pruners import FastV, NoPruning, Random

IMAGE = "<image>"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    families = ("glm4v_video", "qwen2_vl_video")
    return {family: build(family, tmp_path_factory.mktemp(family)) for family in families}


@pytest.fixture(scope="module")
def rows():
    """Two pairs of frames, the last of which is filled up; and one pair of another size."""
    first = Frames([picture(84, 112, seed) for seed in range(3)], rate=0.7)
    return [([first], 0), ([Frames([picture(56, 140, seed) for seed in (7, 8)], rate=2)], 1)]


def test_a_video_is_written_and_cut_as_by_the_stock_processor(models, rows):
    ((first,), _), _ = rows
    model = models["glm4v_video"]
    inputs = model.process(first)
    (text,) = model.adapter.texts(inputs, IMAGE)
    stock = SimpleNamespace(
        video_processor=SimpleNamespace(merge_size=2),
        image_token=IMAGE,
        replace_frame_token_id=lambda *own, **more: Glm4vProcessor.replace_frame_token_id(
            SimpleNamespace(image_token=IMAGE), *own, **more
        ),
    )
    metadata = SimpleNamespace(fps=0.7, timestamps=[frame / 0.7 for frame in (0, 1, 2, 2)])
    given = {"video_grid_thw": inputs["video_grid_thw"], "video_metadata": [metadata]}
    assert text == Glm4vProcessor.replace_video_token(stock, given, 0)
    assert inputs["video_grid_thw"].tolist() == [[2, 6, 8]]
    halves = inputs["pixel_values_videos"].view(2, 48, 3, 2, 14, 14)
    for step, pair in enumerate([(0, 1), (2, 2)]):
        for half, frame in enumerate(pair):
            alone = model.processing.image_processor([first[frame]], return_tensors="pt")["pixel_values"]
            assert torch.equal(halves[step, :, :, half], alone.view(48, 3, 2, 14, 14)[:, :, 0])
    assert model.adapter.frame_limits(600, 784, 2) == (41, 156_800)


def logits(model, arguments, beams=1):
    with torch.inference_mode():
        output = model.model.generate(
            **arguments,
            max_new_tokens=3,
            do_sample=False,
            num_beams=beams,
            return_dict_in_generate=True,
            output_logits=True,
        )
    return torch.stack(output.logits, dim=1)


@pytest.mark.parametrize("family", ["glm4v_video", "qwen2_vl_video"])
def test_videos_of_unequal_size(models, rows, family):
    """A batch gives what its rows give; beams begin as the most likely answer does."""
    model = models[family]
    whole, _ = pruned_rows(model, rows, NoPruning())
    plain = logits(model, whole.arguments)
    beams = logits(model, whole.arguments, beams=2)  # with which GLM's stock model fails
    torch.testing.assert_close(beams[::2, 0], plain[:, 0])
    assert torch.equal(logits(model, whole.arguments), plain)  # beam search has changed nothing of it
    for pruner in (Random(budget=3), FastV(budget=3, layer=2, budget_as="after")):
        together, _ = pruned_rows(model, rows, pruner)
        with model.pruning_inside(together):
            both = logits(model, together.arguments)
        for number, row in enumerate(rows):
            alone, _ = pruned_rows(model, [row], pruner)
            with model.pruning_inside(alone):
                one = logits(model, alone.arguments)
            torch.testing.assert_close(both[number : number + 1], one, atol=2e-4, rtol=1e-4)
