"""Tower layers that nothing reads do not run, and the output stays the same."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
from families import EVERY, build, visuals
from transformers import LlavaConfig

from script_exp.models.tower_layers import bare_tower, unused_layers_skipped, used_tower_layers

LLAVAS = [name for name in EVERY if name.startswith("llava")]
LAYERS = 3


@pytest.mark.parametrize(
    ("read", "used"), [(-1, 24), (-2, 23), (-25, 0), (0, 0), (5, 5), ([-2, 4], 23), ([3, -8], 17)]
)
def test_layers_up_to_the_last_that_is_read(read, used):
    config = LlavaConfig(vision_config={"num_hidden_layers": 24}, vision_feature_layer=read)
    assert used_tower_layers(config) == used


@pytest.mark.parametrize("family", [family for family in EVERY if family not in LLAVAS])
def test_other_towers_are_read_at_their_end(family):
    config = EVERY[family]()
    assert used_tower_layers(config) in (None, getattr(config.vision_config, "num_hidden_layers", None))


def computing(model):
    """Layers of the tower whose attention ran, in order; filled while the model runs."""
    ran = []
    for index, layer in enumerate(bare_tower(model.model).encoder.layers):
        layer.self_attn.register_forward_hook(lambda *_, index=index: ran.append(index))
    return ran


@pytest.mark.parametrize("family", LLAVAS)
def test_only_layers_that_are_read_are_computed(family, tmp_path):
    model = build(family, tmp_path)
    inputs = model.preprocess(visuals(family)[:1], [model.chat_prompt("what is it?")])
    ran = computing(model)
    images = model.encode_images(inputs)
    assert ran == list(range(LAYERS if "onevision" in family else LAYERS - 1))
    ran.clear()
    with torch.no_grad():
        stock = model.adapter.encode_images(inputs, None)
    assert ran == list(range(LAYERS))  # the model is as it was
    for image, whole in zip(images, stock, strict=True):
        assert torch.equal(image.packed, whole.packed)
        assert torch.equal(image.visual.projected, whole.visual.projected)


@pytest.mark.parametrize("read", [[-2, 1], 2, -1])
def test_any_choice_of_layers_gives_the_stock_features(tmp_path, read):
    model = build("llava", tmp_path).model
    model.config.vision_feature_layer = read
    width = model.config.vision_config.hidden_size * (2 if isinstance(read, list) else 1)
    model.model.multi_modal_projector.linear_1 = torch.nn.Linear(width, 32)
    pixels = torch.randn(2, 3, 168, 168)
    with torch.no_grad():
        stock = model.model.get_image_features(pixels).pooler_output
        with unused_layers_skipped(model):
            fast = model.model.get_image_features(pixels).pooler_output
    assert all(torch.equal(one, other) for one, other in zip(stock, fast, strict=True))


def test_a_layer_with_a_forward_of_its_own_keeps_it(tmp_path):
    """As accelerate gives one to every layer of a dispatched model."""
    model = build("llava", tmp_path).model
    layers = bare_tower(model).encoder.layers
    own = layers[-1].forward
    layers[-1].forward = own
    with unused_layers_skipped(model):
        assert layers[-1].forward is not own
    assert vars(layers[-1])["forward"] is own
    assert "forward" not in vars(layers[0])


def test_an_error_leaves_the_layers_as_they_were(tmp_path):
    model = build("llava", tmp_path)
    with pytest.raises(RuntimeError):
        model.encode_images({"pixel_values": torch.zeros(1, 5, 168, 168)})
    assert not any("forward" in vars(layer) for layer in bare_tower(model.model).encoder.layers)


def test_two_threads_may_use_one_model(tmp_path):
    model = build("llava", tmp_path)
    inputs = model.preprocess(visuals("llava")[:1], [model.chat_prompt("what is it?")])
    with ThreadPoolExecutor(4) as threads:
        jobs = [threads.submit(model.encode_images, inputs) for _ in range(16)]
        (first,) = jobs[0].result()
        assert all(torch.equal(job.result()[0].packed, first.packed) for job in jobs)
    assert not any("forward" in vars(layer) for layer in bare_tower(model.model).encoder.layers)


def test_a_tower_of_another_make_that_is_read_at_its_end_is_let_be():
    config = LlavaConfig(vision_config={"num_hidden_layers": 2}, vision_feature_layer=-1)
    with unused_layers_skipped(SimpleNamespace(config=config)):
        pass
