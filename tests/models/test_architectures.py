"""The configs have the published numbers of parameters and visual tokens (on the meta device)."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForImageTextToText

from script_exp.models.families.registry import ADAPTERS
from script_exp.models.loading.architectures import ARCHITECTURES

# 7,063,427,072 and 8,292,166,656 are what llava-1.5-7b-hf and Qwen2.5-VL-7B-Instruct hold on the hub.
# LLaVA-NeXT adds one newline embedding to LLaVA-1.5.
PARAMETERS = {
    "llava_1_5_7b": 7_063_427_072,
    "llava_1_5_13b": 13_351_494_656,
    "llava_next_7b": 7_063_427_072 + 4096,
    "llava_next_13b": 13_351_494_656 + 5120,
    "qwen2_5_vl_3b": 3_754_622_976,
    "qwen2_5_vl_7b": 8_292_166_656,
    "qwen2_5_vl_32b": 33_452_718_336,
    "qwen2_5_vl_72b": 73_410_777_344,
    "llava_onevision_7b": 8_030_807_584,
    "llava_next_video_7b": 7_063_427_072 + 4096,
    "qwen3_vl_2b": 2_127_532_032,
    "qwen3_vl_4b": 4_437_815_808,
    "qwen3_vl_8b": 8_767_123_696,
    "qwen3_vl_32b": 33_357_390_064,
    "qwen3_vl_30b_a3b": 31_070_754_032,
    "qwen3_vl_235b_a22b": 235_670_022_896,
    "qwen3_5_9b": 9_409_813_744,
    "qwen3_5_27b": 27_356_728_560,
    "qwen3_5_35b_a3b": 35_107_181_936,
    "qwen2_vl_2b": 2_208_985_600,
    "qwen2_vl_7b": 8_291_375_616,
    "qwen2_vl_72b": 73_405_560_320,
    "smolvlm2_256m": 256_484_928,
    "smolvlm2_500m": 507_482_304,
    "smolvlm2_2b": 2_246_784_880,
    "idefics3_8b": 8_462_086_384,
    "glm_4_1v_9b": 10_292_777_472,
    "mistral_small_3_1_24b": 24_011_361_280,
    "paligemma_3b": 2_923_466_480,
    "paligemma2_3b": 3_032_242_416,
    "paligemma2_10b": 9_662_638_832,
    "paligemma2_28b": 27_650_487_024,
    "gemma3_4b": 4_300_079_472,
    "gemma3_12b": 12_187_325_040,
    "gemma3_27b": 27_432_406_640,
    "internvl3_1b": 938_193_024,
    "internvl3_2b": 2_088_957_440,
    "internvl3_8b": 7_944_373_760,
    "internvl3_14b": 15_117_256_704,
    "internvl3_38b": 38_388_164_992,
    "internvl3_78b": 78_408_318_336,
    "internvl3_5_1b": 1_060_897_792,
    "internvl3_5_2b": 2_348_347_392,
    "internvl3_5_4b": 4_732_489_216,
    "internvl3_5_8b": 8_528_318_464,
    "internvl3_5_14b": 15_119_523_840,
    "internvl3_5_30b_a3b": 30_848_730_112,
    "internvl3_5_38b": 38_390_405_504,
}


def on_meta(name):
    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(ARCHITECTURES[name](), dtype=torch.bfloat16)


def packed(name, size):
    """Visual tokens of one image of ``size`` (height, width), newlines included."""
    model = on_meta(name)
    side = model.config.vision_config.image_size
    crops = torch.empty(1, 40, 3, side, side, device="meta")
    return len(model.model.get_image_features(crops, torch.tensor([size])).pooler_output[0])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_number_of_parameters(name):
    model = on_meta(name)
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name.startswith("llava_")])
def test_llava_reads_the_layer_it_was_trained_on(name):
    config = ARCHITECTURES[name]()
    onevision = name == "llava_onevision_7b"
    assert config.vision_feature_layer == (-1 if onevision else -2)
    assert config.text_config.rms_norm_eps == (1e-6 if onevision else 1e-5)
    assert config.text_config.vocab_size == (152128 if onevision else 32064)


# Ids of the placeholders of images and videos, by the beginning of names; a later line is the stricter one.
PLACEHOLDERS = {
    "llava_": (32000, None),
    "llava_next_video_": (32001, 32000),
    "llava_onevision_": (151646, 151647),
    "qwen": (151655, 151656),
    "qwen3_5_": (248056, 248057),
    "smolvlm2_": (49190, None),
    "idefics3_": (128257, None),
    "glm_4_1v_": (151343, 151343),  # that of images for videos, too
    "mistral_small_3_1_": (10, None),
    "paligemma": (257152, None),
    "gemma3_": (262144, None),
    "internvl3_": (151667, None),
    "internvl3_5_": (151671, None),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_placeholders(name):
    config = ARCHITECTURES[name]()
    (*_, (image, video)) = (ids for start, ids in PLACEHOLDERS.items() if name.startswith(start))
    adapters = [ADAPTERS[config.model_type].taking(modality) for modality in ("image", "video")]
    assert config.image_token_id == image < config.text_config.vocab_size
    for adapter in adapters:
        assert adapter.placeholder_of(config) == {"image": image, "video": video}[adapter.modality]
    assert (adapters[1].modality == "video") == (video is not None)


@pytest.mark.parametrize(
    ("name", "size", "tokens"),
    [
        ("llava_next_7b", (672, 672), 2928),
        ("llava_next_13b", (480, 640), 2340),
        ("llava_onevision_7b", (768, 768), 729 + 54 * 55),
        ("llava_onevision_7b", (2304, 2304), 729 + 81 * 82),
    ],
)
def test_visual_tokens_of_an_image(name, size, tokens):
    assert packed(name, size) == tokens


def test_visual_tokens_of_a_frame():
    model = on_meta("llava_next_video_7b")
    frames = torch.empty(1, 8, 3, 336, 336, device="meta")
    features = model.model.get_video_features(frames).pooler_output
    assert sum(one.numel() for one in features) == 8 * 144 * 4096


def test_every_call_makes_a_new_config():
    for build in ARCHITECTURES.values():
        first, second = build(), build()
        assert first.to_dict() == second.to_dict()
        first.text_config.vocab_size = 1
        if hasattr(first, "image_grid_pinpoints"):
            first.image_grid_pinpoints[0][0] = 1
        assert second.to_dict() == build().to_dict()
