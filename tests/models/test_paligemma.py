"""What is PaliGemma's own: its prompt, its kernels, the operations of its tower."""

from __future__ import annotations

import pytest
from families import CONFIGS, VARIANTS, build, visuals
from flop_counter import counted

from script_exp.errors import SettingError
from script_exp.measure import flops
from script_exp.models.families.paligemma import PaliGemmaAdapter
from script_exp.models.loading.load import check_kernel
from script_exp.models.processing import Processing


def test_prompt_and_operations(tmp_path):
    model = build("paligemma", tmp_path, attention="eager")
    own = model.processing
    parts = own.tokenizer, own.image_processor, model.adapter, model.model.config, None
    asked = Processing.from_parts(*parts)
    object.__setattr__(asked, "conversation", "paligemma")
    mark, start = own.mark, own.tokenizer.bos_token
    assert asked.prompt("what?", "image", 2) == f"{mark}{mark}{start}answer en what?\n"
    rows = visuals("paligemma")[:1]
    ids = asked.batch(model.adapter, rows, [asked.prompt("what?", "image")])["input_ids"][0].tolist()
    assert ids[:64] == [model.adapter.placeholder_id] * 64
    assert ids[64] == own.tokenizer.bos_token_id  # behind the image, and nowhere else
    assert ids.count(own.tokenizer.bos_token_id) == 1
    inputs = model.preprocess(rows, [asked.prompt("what?", "image")])
    total = counted(lambda: model.encode_images(inputs))
    assert sum(flops.vision_stages(model.model.config, 1).values()) == total


def test_kernels_and_towers_that_do_not_fit():
    first, second = CONFIGS["paligemma"](), VARIANTS["paligemma2"]()
    check_kernel("sdpa", PaliGemmaAdapter, first.text_config)
    check_kernel("eager", PaliGemmaAdapter, second.text_config)
    with pytest.raises(SettingError, match="attention=sdpa: expected eager"):
        check_kernel("sdpa", PaliGemmaAdapter, second.text_config)
    with pytest.raises(SettingError, match="attention=flash_attention_2: expected sdpa or eager"):
        check_kernel("flash_attention_2", PaliGemmaAdapter, first.text_config)
    first.vision_config = CONFIGS["llava"]().vision_config
    with pytest.raises(SettingError, match=r"vision_config\.model_type=clip_vision_model: expected siglip"):
        PaliGemmaAdapter.check_config(first)
