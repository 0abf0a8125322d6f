"""What methods read of the vision tower, against eager attention in every family that has it."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from families import NATIVE, build, visuals
from flop_counter import counted
from torch.nn import functional
from transformers import LlavaConfig, LlavaOnevisionConfig, Qwen2_5_VLConfig
from transformers.vision_utils import get_vision_window_index

from script_exp.errors import SettingError, UserError
from script_exp.measure.signal_flops import signal_operations
from script_exp.models.families.qwen2_5_vl import Qwen25VLAdapter
from script_exp.models.families.registry import ADAPTERS
from script_exp.models.tower_layers import bare_tower, used_tower_layers
from script_exp.models.tower_signals import index_of
from script_exp.models.window_signals import block_of
from script_exp.pruners.contract.signals import NOTHING, Reads, Signal

CLASS_TOKEN = {"llava", "llava_next", "llava_next_video", "internvl", "internvl_moe"}
TILED = {"internvl", "internvl_moe", "smolvlm", "idefics3"}  # the thumbnail stands behind the tiles
POOLED = TILED | {"llava_next_video", "llava_onevision_video", "gemma3", "gemma3_window"}
WITH_CLASS = [Signal("cls"), Signal("cls", -1), Signal("flat_saliency", 1), Signal("flat_keys", 1)]
ALL = [Signal("saliency"), Signal("received"), Signal("keys")]


def signals_of(family):
    if family.startswith(NATIVE):
        return [*ALL, Signal("received", -2), Signal("saliency", 0.3)]
    shallow = [
        *ALL,
        Signal("received", -1),
        Signal("received", 0.3),
        Signal("flat_keys"),
        Signal("flat_saliency"),
    ]
    if family.startswith("internvl"):  # reads its last layer, and has no token of one patch
        return [*shallow, Signal("cls"), Signal("cls", -1)]
    return [*shallow, *WITH_CLASS, Signal("class_token")] if family in CLASS_TOKEN else shallow


def inputs_of(model, family):
    return model.preprocess(visuals(family), [model.chat_prompt("what is it?")] * 3)


def layers_of(model):
    visual = getattr(model.model.model, "visual", None)
    if visual is not None:
        return [block.attn for block in visual.blocks]
    tower = bare_tower(model.model)
    if hasattr(tower, "transformer"):
        return [layer.attention for layer in tower.transformer.layers]
    encoder = tower.encoder
    if hasattr(encoder, "layer"):
        return [layer.attention for layer in encoder.layer]
    return [layer.self_attn for layer in encoder.layers]


def slow(model, inputs, monkeypatch):
    """Every layer's attention weights (calls, heads, q, k) and keys under eager attention."""
    layers = layers_of(model)
    module = sys.modules[type(layers[0]).__module__]
    real, weights, keys = module.eager_attention_forward, {}, {}

    def recorded(layer, query, key, *args, **kwargs):
        output, attention = real(layer, query, key, *args, **kwargs)
        weights.setdefault(layers.index(layer), []).append(attention)
        keys.setdefault(layers.index(layer), []).append(key)
        return output, attention

    monkeypatch.setattr(module, "eager_attention_forward", recorded)
    for layer in layers:
        monkeypatch.setattr(layer.config, "_attn_implementation", "eager")
    model.encode_images(inputs)
    return weights, keys


def in_raster(model, inputs, patches):
    """Qwen's patches (patches, ...) in the order of windows as merged tokens in raster order."""
    vision = model.model.config.vision_config
    grids = inputs[model.adapter.inputs[1]]
    if not hasattr(vision, "window_size"):
        return patches.unflatten(0, (-1, 4)).mean(dim=1)
    index, _ = get_vision_window_index(grids, 2, vision.window_size, vision.patch_size)
    merged = patches.unflatten(0, (-1, 4)).mean(dim=1)
    return merged[index.argsort()]


def in_tokens(inputs, patches, keys):
    """Pixtral's patches of all images, which one call has in raster order, as tokens: each image by itself.

    ``patches`` are keys (patches, width), or attention (patches, patches) that the mask keeps in its image.
    """
    tokens, first = [], 0
    for height, width in (inputs["image_sizes"] // 14).tolist():
        own = patches[first : first + height * width]
        if not keys:
            own = own[:, first : first + height * width].mean(dim=0)[:, None]
        first += height * width
        grid = own.reshape(height, width, -1).permute(2, 0, 1)
        tokens.append(functional.avg_pool2d(grid, 2).flatten(1).T)
    every = torch.cat(tokens)
    return every if keys else every[:, 0]


def pooled(family, values):
    """A crop's values (crops, n, ...) pooled as the family pools its tokens."""
    if family not in POOLED:
        return values
    flat = values.reshape(*values.shape[:2], -1).mT
    side = math.isqrt(flat.shape[-1])
    squares = flat.unflatten(-1, (side, side))
    if family != "llava_onevision_video":
        small = functional.avg_pool2d(squares, 2)
    else:
        small = functional.interpolate(squares, size=[-(-side // 2)] * 2, mode="bilinear")
    return small.flatten(2).mT.reshape(len(values), -1, *values.shape[2:])


def expected(model, family, inputs, signal, weights, keys):
    """The signal of all crops of the batch, by the definition."""
    if family == "mistral3":
        read, wanted = index_of(signal, len(layers_of(model)) - 1), signal.kind == "keys"
        (only,) = (keys if wanted else weights)[read]
        return in_tokens(inputs, only.mean(dim=1)[0], wanted)
    if family.startswith(NATIVE):
        index = block_of(signal, model.model.config.vision_config)
        if signal.kind == "keys":
            values = torch.cat([key.mean(dim=1)[0] for key in keys[index]])
        else:
            values = torch.cat([attention.mean(dim=(1, 2))[0] for attention in weights[index]])
        return in_raster(model, inputs, values)
    config = model.model.config
    last = used_tower_layers(config) or config.vision_config.num_hidden_layers
    index = index_of(signal, last - 1)
    first = int(family in CLASS_TOKEN)
    if signal.kind == "keys":
        return pooled(family, torch.cat(keys[index]).mean(dim=1)[:, first:])
    attention = torch.cat(weights[index]).mean(dim=1)
    if signal.kind == "cls" or (signal.kind == "saliency" and first):
        return pooled(family, attention[:, 0, first:])
    return pooled(family, attention.mean(dim=1)[:, first:])


def in_order(family, crops):
    """Crops as the tower gets them; a pruner sees the thumbnail first."""
    return crops.roll(-1, dims=0) if family in TILED else crops


def crops_of(images, signal):
    return torch.cat([image.visual.signals[signal] for image in images])


def test_signals_are_those_of_eager_attention(model, family, monkeypatch):
    inputs = inputs_of(model, family)
    wanted = [
        signal for signal in signals_of(family) if signal.kind in ("saliency", "cls", "received", "keys")
    ]
    images = model.encode_images(inputs, Reads(signals=frozenset(wanted)))
    weights, keys = slow(model, inputs, monkeypatch)
    for signal in wanted:
        reference = expected(model, family, inputs, signal, weights, keys)
        if family == "llava_onevision":  # the last picture is scaled down
            images, reference = images[:2], reference[: sum(image.crops for image in images[:2])]
        own = torch.cat([in_order(family, image.visual.signals[signal]).flatten(0, 1) for image in images])
        torch.testing.assert_close(own, reference.reshape(own.shape).float(), atol=1e-6, rtol=1e-4)


def test_the_flat_row_is_one_head_as_wide_as_the_tower(tmp_path):
    model = build("llava_next", tmp_path)
    inputs = inputs_of(model, "llava_next")
    layers, wanted = (
        bare_tower(model.model).encoder.layers,
        [Signal("flat_saliency", 1), Signal("flat_keys", 1)],
    )
    seen = []
    layers[-2].register_forward_hook(lambda _, __, output: seen.append(output))
    images = model.encode_images(inputs, Reads(signals=frozenset([*wanted, Signal("class_token")])))
    states = layers[-1].layer_norm1(seen[0])
    query, key = layers[-1].self_attn.q_proj(states[:, 0]), layers[-1].self_attn.k_proj(states)
    row = torch.stack([one @ own.T / math.sqrt(24) for one, own in zip(query, key, strict=True)]).softmax(-1)
    torch.testing.assert_close(crops_of(images, wanted[0]), row[:, 1:])
    torch.testing.assert_close(crops_of(images, wanted[1]), key[:, 1:])
    assert torch.equal(crops_of(images, Signal("class_token")), seen[0][:, 0])
    tower = torch.cat([image.visual.tower for image in images])
    assert torch.equal(tower, seen[0][:, 1:])


def test_a_scaled_down_picture_has_its_signals_scaled(tmp_path):
    model = build("llava_onevision", tmp_path)
    inputs = inputs_of(model, "llava_onevision")
    signals = frozenset([Signal("saliency"), Signal("keys")])
    *_, image = model.encode_images(inputs, Reads(signals=signals))
    assert image.crops > 1
    assert image.visual.projected.shape[0] == 1
    for signal in signals:
        values = image.visual.signals[signal]
        assert values.shape[:2] == image.visual.projected.shape[:2]
        assert values.isfinite().all()
    assert image.visual.grid is None


def test_nothing_is_read_that_nobody_declared(model, family):
    inputs = inputs_of(model, family)
    plain, reading = model.encode_images(inputs), model.encode_images(inputs, Reads(signals=frozenset(ALL)))
    for one, other in zip(plain, reading, strict=True):
        assert one.visual.signals == {}
        assert set(other.visual.signals) == set(ALL)
        assert torch.equal(one.packed, other.packed)
        assert one.nbytes < other.nbytes
    assert Reads() == NOTHING


@pytest.mark.parametrize("alone", [True, False])
def test_their_operations_equal_the_counter(model, family, alone):
    """Alone and together, because keys of a layer are computed once."""
    signals = signals_of(family)
    tower = model.adapter.tower_shape(model.model.config)
    for row in visuals(family)[::2]:
        inputs = model.preprocess([row], [model.chat_prompt("what is it?")])
        (image,) = model.encode_images(inputs)
        grids = [] if image.grid is None else [image.grid]
        plain = counted(lambda inputs=inputs: model.encode_images(inputs))
        for chosen in [[one] for one in signals] if alone else [signals]:
            reads = Reads(signals=frozenset(chosen))
            more = counted(lambda inputs=inputs, reads=reads: model.encode_images(inputs, reads)) - plain
            assert signal_operations(tower, chosen, image.crops, grids) == more


def test_the_grid_is_that_of_the_tokens(model, family):
    for image in model.encode_images(inputs_of(model, family)):
        if image.visual.grid is None:
            assert family == "llava_onevision"
            assert image.visual.projected.shape[0] < image.crops
        else:
            assert math.prod(image.visual.grid) == image.visual.projected.shape[1]


def test_signals_in_half_precision(family, tmp_path):
    model = build(family, tmp_path, dtype=torch.bfloat16)
    images = model.encode_images(inputs_of(model, family), Reads(signals=frozenset(signals_of(family))))
    for image in images:
        for signal, values in image.visual.signals.items():
            assert values.dtype == (torch.bfloat16 if signal.kind == "class_token" else torch.float32)
            assert values.isfinite().all()


@pytest.mark.parametrize(
    ("config", "signal", "message"),
    [
        (
            LlavaOnevisionConfig,
            Signal("cls"),
            "cls cannot be read from this model",
        ),
        (LlavaOnevisionConfig, Signal("class_token"), "class_token cannot be read from this model"),
        (LlavaOnevisionConfig, Signal("flat_keys", 1), "layer=1: expected -25 to 0, where 0 is the layer"),
        (LlavaConfig, Signal("received", 1), "layer=1: expected -22 to 0"),
        (LlavaConfig, Signal("cls", -23), "layer=-23: expected -22 to 0"),
        (LlavaConfig, Signal("flat_keys", 2), "layer=2: expected -22 to 1"),
        (Qwen2_5_VLConfig, Signal("received", -1), "layer=-1: expected one of -24, -16, -8, 0, the tower's"),
        (Qwen2_5_VLConfig, Signal("cls"), "cls cannot be read from this model"),
    ],
)
def test_a_signal_that_the_tower_lacks(config, signal, message):
    own = config()
    with pytest.raises(UserError) as error:
        ADAPTERS[own.model_type].check_signals([signal], own)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("config", "share", "index"),
    [(LlavaConfig, 0.39, 8), (LlavaConfig, 0.26, 5), (LlavaConfig, 0.001, 0), (LlavaConfig, 0.999, 22)],
)
def test_a_share_of_the_layers(config, share, index):
    own = config()
    assert index_of(Signal("received", share), used_tower_layers(own) - 1) == index
    ADAPTERS[own.model_type].check_signals([Signal("received", share)], own)


@pytest.mark.parametrize(("share", "block"), [(0.39, 15), (0.26, 7), (0.9, 31)])
def test_a_share_of_qwens_blocks_is_one_that_looks_across_windows(share, block):
    config = Qwen2_5_VLConfig()
    assert block_of(Signal("received", share), config.vision_config) == block
    Qwen25VLAdapter.check_signals([Signal("received", share)], config)


@pytest.mark.parametrize("layer", [1.0, 0.0, -0.5, True, "1", None])
def test_a_layer_that_is_none(layer):
    with pytest.raises(SettingError, match=f"layer={layer}: expected a whole number, 0 for the layer"):
        Signal("received", layer)


def test_a_kind_that_does_not_exist():
    with pytest.raises(SettingError, match="signal=attention: expected one of saliency, cls, received"):
        Signal("attention")
