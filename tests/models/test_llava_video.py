"""LLaVA-1.5 on videos: the LLM sees the means of 3 x 3 tokens of every frame, in order."""

from __future__ import annotations

import math

import pytest
import torch
from families import build, picture
from flop_counter import counted
from PIL import Image

from script_exp.errors import SettingError, UserError
from script_exp.measure import flops
from script_exp.models.families.llava_video import LlavaVideoAdapter
from script_exp.models.prunable import PrunableModel
from script_exp.pruners import EVS, NoPruning
from script_exp.pruners.contract.signals import SALIENCY, Reads


@pytest.fixture(scope="module")
def image_model(tmp_path_factory):
    return build("llava", tmp_path_factory.mktemp("llava"))


@pytest.fixture(scope="module")
def model(image_model):
    adapter = LlavaVideoAdapter(image_model.model)
    return PrunableModel(image_model.model, image_model.processing, adapter, None)


def means(tokens):
    """(n, d) -> (n / 9, d), one bin at a time."""
    side = math.isqrt(len(tokens))
    bins = [
        [(3 * row + i) * side + 3 * column + j for i in range(3) for j in range(3)]
        for row in range(side // 3)
        for column in range(side // 3)
    ]
    return torch.stack([sum(tokens[place] for place in one) / 9 for one in bins])


def test_frames_are_pooled_pictures_in_a_picture_s_place(image_model, model):
    frames = [picture(40, 40), picture(30, 50), picture(50, 30), picture(40, 60)]
    frames = [frame if isinstance(frame, Image.Image) else frame[0] for frame in frames]
    prompt = model.chat_prompt("what is it?")
    assert prompt == image_model.chat_prompt("what is it?")
    inputs = model.preprocess([[frames]], [prompt])
    reads = Reads(signals=(SALIENCY,))
    (video,) = model.encode_images(inputs, reads)
    single = image_model.preprocess([[frame] for frame in frames], [prompt] * 4)
    pictures = image_model.encode_images({"pixel_values": single["pixel_values"]}, reads)
    expected = torch.stack([means(one.visual.projected[0]) for one in pictures])
    torch.testing.assert_close(video.visual.projected, expected)
    saliency = [means(one.visual.signals[SALIENCY][0][:, None])[:, 0] for one in pictures]
    torch.testing.assert_close(video.visual.signals[SALIENCY], torch.stack(saliency))
    assert (video.crops, video.visual.frames, video.source.tolist()) == (4, 1, list(range(len(video.packed))))

    whole = model.prune(inputs, [video], NoPruning())
    ids = inputs["input_ids"]
    embedded = model.model.get_input_embeddings()(ids)
    embedded[0, ids[0] == model.adapter.placeholder_id] = expected.flatten(0, 1)
    by_hand = model.model(inputs_embeds=embedded, attention_mask=inputs["attention_mask"]).logits[:, -1]
    torch.testing.assert_close(model.prefill(whole).logits[:, -1], by_hand, atol=1e-4, rtol=1e-4)
    short = model.prune(inputs, [video], EVS(budget=1))
    assert short.entering == [4]
    assert torch.isfinite(model.prefill(short).logits).all()


def test_the_means_are_embedded_in_clip_s_space(image_model, model):
    """And not all patches, as costs of the images' adapter would have it."""
    frames, encoder = [picture(40, 40, seed) for seed in range(3)], image_model.query_encoder
    inputs = model.preprocess([[frames]], [model.chat_prompt("what is it?")])
    none, three = (
        flops.prefill_stages(
            LlavaVideoAdapter,
            model.model.config,
            flops.PromptShape(crops, (1,) * 4, 1, query=5),
            text_encoder=encoder.config,
            joint_width=encoder.width,
        )["query_encoder"]
        for crops in (0, 3)
    )
    embedding = counted(lambda: model.adapter.encode_images(inputs, encoder))
    embedding -= counted(lambda: model.adapter.encode_images(inputs, None))
    assert three - none == embedding > 0


def test_what_is_refused(model):
    with pytest.raises(UserError, match="the model takes videos here: expected a list of frames"):
        model.preprocess([[picture(40, 40)]], [model.chat_prompt("what is it?")])
    config = model.model.config.__class__.from_dict(model.model.config.to_dict())
    config.vision_config.image_size = 4 * config.vision_config.patch_size
    with pytest.raises(SettingError, match="along one side of a picture=4: expected a multiple of 3"):
        LlavaVideoAdapter.check_config(config)
