"""Vision towers and projectors at full width, with one or a few layers, against torch's counter."""

from __future__ import annotations

import pytest
import torch
from flop_counter import counted
from transformers import AutoModelForImageTextToText

from script_exp.measure import flops
from script_exp.models.families.registry import ADAPTERS
from script_exp.models.loading.architectures import ARCHITECTURES

GRIDS = ((1, 4, 6), (1, 8, 4))
SQUARE = ["internvl3_8b", "internvl3_38b", "gemma3_4b", "paligemma_3b"]
TILED = ["smolvlm2_256m", "smolvlm2_2b", "idefics3_8b"]
ANY_SIZE = ["qwen2_vl_7b", "qwen3_vl_2b", "qwen3_vl_8b", "qwen3_5_9b", "glm_4_1v_9b"]


def shallow(name, device="cpu"):
    """One layer of the tower, and next to nothing of the LLM but its width."""
    config = ARCHITECTURES[name]()
    text, vision = config.text_config, config.vision_config
    text.num_hidden_layers, text.vocab_size, text.pad_token_id, text.intermediate_size = 1, 64, None, 8
    if text.to_dict().get("layer_types"):
        text.layer_types = text.layer_types[:1]
    setattr(vision, "depth" if hasattr(vision, "depth") else "num_hidden_layers", 1)
    if hasattr(vision, "deepstack_visual_indexes"):
        vision.deepstack_visual_indexes = [0]
    with torch.device(device):
        return AutoModelForImageTextToText.from_config(
            config, attn_implementation="eager", dtype=torch.float32
        )


def stages(config, *given):
    return flops.vision_stages(ADAPTERS[config.model_type], config, *given)


def check(model, counts, *inputs):
    with torch.inference_mode():
        assert sum(counts.values()) == counted(lambda: model.model.get_image_features(*inputs))


@pytest.mark.parametrize("name", SQUARE)
def test_square_crops(name):
    model = shallow(name, "meta")
    size = model.config.vision_config.image_size
    side = size if isinstance(size, int) else size[0]
    pixels = torch.empty(3, 3, side, side, device="meta")
    check(model, stages(model.config, 3), pixels)


@pytest.mark.parametrize("name", TILED)
def test_tiles(name):
    model = shallow(name)
    side = model.config.vision_config.image_size
    check(model, stages(model.config, 2), torch.ones(1, 2, 3, side, side))


@pytest.mark.parametrize("name", ANY_SIZE)
def test_pictures_of_any_size(name):
    model = shallow(name)
    patches = sum(t * h * w for t, h, w in GRIDS)
    pixels = torch.ones(patches, 3 * 2 * model.config.vision_config.patch_size**2)
    check(model, stages(model.config, 2, GRIDS), pixels, torch.tensor(GRIDS))


def test_pixtral_embeds_the_padding_of_unequal_pictures():
    model = shallow("mistral_small_3_1_24b")
    pixels, sizes = torch.ones(2, 3, 112, 84), torch.tensor([[56, 84], [112, 56]])
    check(model, stages(model.config, 2, GRIDS), pixels, sizes)
