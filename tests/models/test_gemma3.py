"""What is Gemma 3's own: its prompt, its operations and its cache, and configs that do not fit."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from families import CONFIGS, QUESTIONS, VARIANTS, build, picture
from flop_counter import counted
from transformers import AutoModelForImageTextToText, Gemma3Processor

from script_exp.errors import SettingError
from script_exp.measure import flops
from script_exp.measure.kv_cache import kv_cache_bytes
from script_exp.models.families.gemma3 import Gemma3Adapter
from script_exp.models.families.registry import adapter_of
from script_exp.models.loading.load import check_kernel
from script_exp.models.loading.random_weights import random_model
from script_exp.pruners import FastV, Random

TEMPLATE = (
    "{{ '<s>' }}{% for part in messages[0]['content'] %}"
    "{% if part['type'] == 'image' %}<start_of_image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
)


def test_the_prompt_is_that_of_the_stock_processor(tmp_path):
    """Two images of a question; a template that writes the start token gets no second one."""
    model = build("gemma3", tmp_path)
    tokenizer = model.processing.tokenizer
    model.processing = replace(model.processing, chat_template=TEMPLATE)
    pictures = [picture(100, 260), picture(300, 200)]
    inputs = model.preprocess([pictures], [model.processing.prompt("what?", "image", 2)])
    assert inputs["pixel_values"].shape == (2, 3, 112, 112)  # also of a strip: no pan and scan
    image = tokenizer.convert_ids_to_tokens(model.adapter.placeholder_id)
    whole = f"\n\n<start_of_image>{image * 16}<end_of_image>\n\n"
    stock = SimpleNamespace(full_image_sequence=whole)
    given = {"num_crops": [0, 0]}
    texts = [Gemma3Processor.replace_image_token(stock, given, index) for index in range(2)]
    assert model.adapter.texts(inputs, image) == texts
    ids = tokenizer(f"<s>{''.join(texts)}what?", add_special_tokens=False)["input_ids"]
    assert inputs["input_ids"][0].tolist() == ids
    assert (ids.count(294), ids.count(295), ids.count(1)) == (2, 2, 1)
    arguments = model.adapter.more_arguments(inputs["input_ids"])
    blocks = model.adapter.blocks(arguments)[0]
    assert [int((blocks == number).sum()) for number in (0, 1)] == [16, 16]
    assert blocks[:3].tolist() == [-1] * 3


@pytest.mark.parametrize("method", [Random(budget=5), FastV(budget=5, layer=2, budget_as="after")])
def test_operations_and_cache_with_windows(tmp_path, method):
    """Attention is counted in full, as kernels compute it; a layer with a window keeps fewer keys."""
    model = build("gemma3_window", tmp_path, attention="eager")
    config, outputs = model.model.config, []
    inputs = model.preprocess([[picture(100, 260)]], [model.chat_prompt(QUESTIONS[0])])
    total = counted(lambda: model.encode_images(inputs))
    assert sum(flops.vision_stages(type(model.adapter), config, 1).values()) == total
    prompt = model.prune(inputs, model.encode_images(inputs), method, keys=["0"])
    text = inputs["input_ids"].shape[1] - 16
    lengths = [text + tokens for tokens in model.visual_by_layer(method, 16, prompt.entering[0], 1)]
    own = config.text_config

    def prefill():
        with model.pruning_inside(prompt):
            outputs.append(model.prefill(prompt))

    row = flops.attention_row(own, lengths[1]) if isinstance(method, FastV) else 0
    assert flops.decoder(own, lengths) + flops.lm_head(own) + row == counted(prefill)
    layers = outputs[0].past_key_values.layers
    assert [layer.keys.shape[2] for layer in layers] == [3, lengths[1], 3, lengths[3]]
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in layers)
    assert kv_cache_bytes(own, lengths, 4) == held


def test_configs_and_kernels_that_do_not_fit():
    fits = CONFIGS["gemma3"]()
    Gemma3Adapter.check_config(fits)
    with pytest.raises(SettingError, match="attention=flash_attention_2: expected sdpa or eager"):
        check_kernel("flash_attention_2", Gemma3Adapter, fits.text_config)
    for changes, expected in (
        ({"mm_tokens_per_image": 9}, "mm_tokens_per_image=9: expected the square of a divisor of 8"),
        (
            {"vision_config": CONFIGS["llava"]().vision_config},
            "model_type=clip_vision_model: expected siglip",
        ),
    ):
        config = CONFIGS["gemma3"]()
        for key, value in changes.items():
            setattr(config, key, value)
        with pytest.raises(SettingError, match=expected):
            adapter_of(SimpleNamespace(config=config))
    config = VARIANTS["gemma3_window"]()
    config.text_config.use_bidirectional_attention = True
    with pytest.raises(SettingError, match="use_bidirectional_attention=True: expected false"):
        Gemma3Adapter.check_config(config)


def test_random_weights_scale_embeddings_and_turn_each_kind_of_layer_as_a_normal_model_does():
    config = CONFIGS["gemma3"]()
    normal = dict(AutoModelForImageTextToText.from_config(config).named_buffers())
    made = random_model(config, device="cpu", dtype=torch.float32, attention="sdpa")
    buffers = dict(made.named_buffers())
    assert buffers.keys() == normal.keys()
    assert any("embed_scale" in name for name in buffers)
    assert all(torch.equal(buffer, normal[name]) for name, buffer in buffers.items())
