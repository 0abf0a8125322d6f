"""Small random models against normally built ones; their tokenizers and image processors at full size."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from families import CONFIGS, VARIANTS, modality, visuals
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForImageTextToText, CLIPTextModelWithProjection, LlavaConfig

from script_exp.errors import SettingError
from script_exp.models.families.adapter import ModelAdapter
from script_exp.models.families.llava import LlavaAdapter
from script_exp.models.families.registry import ADAPTERS
from script_exp.models.loading.architectures import ARCHITECTURES
from script_exp.models.loading.checkpoint import find_checkpoint
from script_exp.models.loading.load import load_model
from script_exp.models.loading.random_weights import random_clip_text, random_model, random_tokenizer
from script_exp.models.loading.wanted import Wanted
from script_exp.pruners import NoPruning

CPU = torch.device("cpu")
SMALL = CONFIGS | VARIANTS
MODELS = [name for name in SMALL if ADAPTERS[SMALL[name]().model_type].modality == modality(name)]
"""One name for each model: most of those for videos are models for images, too."""


def random_small(name, dtype=torch.float32, seed=0):
    return random_model(SMALL[name](), device=CPU, dtype=dtype, attention="eager", seed=seed)


class LargestFloat32(TorchDispatchMode):
    """The largest float32 tensor that takes memory."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.dtype == torch.float32 and out.device.type != "meta":
            self.numel = max(self.numel, out.numel())
        return out


@pytest.mark.parametrize("name", MODELS)
def test_buffers_are_those_of_a_normal_model(name):
    model = random_small(name, torch.bfloat16)
    normal = AutoModelForImageTextToText.from_config(SMALL[name](), dtype=torch.bfloat16)
    buffers, expected = dict(model.named_buffers()), dict(normal.named_buffers())
    assert buffers.keys() == expected.keys()
    for key, buffer in buffers.items():
        assert torch.equal(buffer, expected[key]), key
        assert buffer.dtype == expected[key].dtype, key
        assert "inv_freq" not in key or buffer.dtype == torch.float32
    assert model.state_dict().keys() == normal.state_dict().keys()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert not model.training


@pytest.mark.parametrize("name", MODELS)
def test_weights(name):
    for key, values in random_small(name).named_parameters():
        if key.endswith("bias"):
            assert not values.any(), key
        elif key.endswith("weight") and values.ndim == 1:
            assert (values == 1).all(), key
        else:
            assert values.std().item() == pytest.approx(0.02, rel=0.5), key


def test_the_seed_decides():
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    first, again, other = (random_small("llava", seed=seed).lm_head.weight for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.rand(1) == expected  # the global generator was left alone


def test_no_copy_in_float32():
    with LargestFloat32() as largest:
        random_small("qwen2_5_vl", torch.bfloat16)
    assert largest.numel < 1000


def test_the_config_is_not_changed():
    config = SMALL["llava_onevision"]()
    before = copy.deepcopy(config.to_dict())
    random_model(config, device=CPU, dtype=torch.float16, attention="eager")
    assert config.to_dict() == before


def test_a_model_larger_than_the_memory_is_a_sentence(monkeypatch):
    free = SimpleNamespace(available=1000)
    monkeypatch.setattr("psutil.virtual_memory", lambda: free)
    with pytest.raises(SettingError, match=r"device=cpu: expected one with 0\.0 GiB for the weights alone"):
        random_small("qwen2_5_vl", torch.bfloat16)


def test_tied_embeddings_stay_tied():
    config = LlavaConfig.from_dict(SMALL["llava"]().to_dict() | {"tie_word_embeddings": True})
    model = random_model(config, device=CPU, dtype=torch.float32, attention="sdpa")
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert not any(parameter.is_meta for parameter in model.parameters())


@pytest.mark.parametrize("family", SMALL)
def test_an_image_and_a_question_go_through(family, tmp_path):
    """Everything that a measurement without a checkpoint needs: weights, image processor and tokenizer."""
    SMALL[family]().save_pretrained(tmp_path)
    checkpoint = find_checkpoint(Wanted(str(tmp_path), weights="random"), needs_query=False)
    model = load_model(
        checkpoint.taking(modality(family)), device=CPU, dtype=torch.bfloat16, attention="eager"
    )
    inputs = model.preprocess(visuals(family)[:1], [model.chat_prompt("what is it?")])
    prompt = model.prune(inputs, model.encode_images(inputs), NoPruning())
    (row,) = model.prefill(prompt).logits[:, -1]
    assert row.isfinite().all()
    assert row.std() > 0.01
    assert len(model.generate(prompt, 1).texts) == 1


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_tokenizer(name):
    config = ARCHITECTURES[name]()
    tokenizer = random_tokenizer(config, ADAPTERS[config.model_type])
    text = "Is it 3 o'clock?\n  Ünder « 图 »"
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert max(tokenizer.get_vocab().values()) < config.text_config.vocab_size
    for key in ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id"):
        token = getattr(config, key, None)
        if token is not None:
            assert tokenizer(tokenizer.decode([token]), add_special_tokens=False)["input_ids"] == [token]
    assert tokenizer.eos_token_id == config.text_config.eos_token_id
    assert tokenizer.bos_token_id == getattr(config.text_config, "bos_token_id", None)
    assert (ids[0] == tokenizer.bos_token_id) == (config.text_config.model_type == "llama")
    assert tokenizer.decode([5000, 31999]) == ""  # a random model says tokens that are no bytes


def test_padding_is_on_the_left():
    tokenizer = random_tokenizer(ARCHITECTURES["llava_1_5_7b"](), LlavaAdapter)
    rows = tokenizer(["a", "abc"], padding=True)["input_ids"]
    assert rows[0][:2] == [0, 0]


def test_a_vocabulary_without_room_for_the_bytes():
    config = SMALL["llava"]()
    config.text_config.vocab_size = 259
    config.image_token_index = 3
    with pytest.raises(SettingError, match=r"vocab_size=259: expected at least 260"):
        random_tokenizer(config, LlavaAdapter)


CLIP_BLACK = -0.48145466 / 0.26862954


@pytest.mark.parametrize(
    ("name", "shape", "black"),
    [
        ("llava_1_5_7b", (1, 3, 336, 336), CLIP_BLACK),
        ("llava_next_13b", (1, 5, 3, 336, 336), CLIP_BLACK),
        ("llava_next_video_7b", (1, 3, 336, 336), CLIP_BLACK),
        ("llava_onevision_7b", (1, 5, 3, 384, 384), -1),
        ("qwen2_5_vl_7b", (48 * 48, 3 * 2 * 14 * 14), CLIP_BLACK),
        ("qwen2_vl_7b", (48 * 48, 3 * 2 * 14 * 14), CLIP_BLACK),
        ("qwen3_vl_8b", (42 * 42, 3 * 2 * 16 * 16), -1),
        ("qwen3_5_9b", (42 * 42, 3 * 2 * 16 * 16), -1),
        ("glm_4_1v_9b", (48 * 48, 3 * 2 * 14 * 14), CLIP_BLACK),
        ("internvl3_8b", (1, 3, 448, 448), -0.485 / 0.229),  # the adapter asks for tiles
        ("smolvlm2_2b", (1, 17, 3, 384, 384), -1),
        ("idefics3_8b", (1, 17, 3, 364, 364), -1),
        ("mistral_small_3_1_24b", (1, 3, 672, 672), CLIP_BLACK),
        ("paligemma_3b", (1, 3, 224, 224), -1),
        ("gemma3_4b", (1, 3, 896, 896), -1),
    ],
)
def test_image_processor(name, shape, black):
    config = ARCHITECTURES[name]()
    processor = ADAPTERS[config.model_type].random_image_processor(config)
    pixels = processor(Image.new("RGB", (672, 672)), return_tensors="pt")["pixel_values"]
    assert pixels.shape == shape
    assert pixels.flatten()[0] == pytest.approx(black)


def test_llava_1_5_is_padded_to_a_square():
    processor = LlavaAdapter.random_image_processor(ARCHITECTURES["llava_1_5_7b"]())
    pixels = processor(Image.new("RGB", (336, 100), "white"), return_tensors="pt")["pixel_values"]
    assert pixels[0, :, 0].abs().max() < 0.02  # the mean color
    assert pixels[0, :, 168].min() > 1.5


class OwnAdapter(ModelAdapter):
    """Says nothing of its own."""


def test_an_own_family_without_an_image_processor():
    expected = r"model\.weights=random: expected pretrained: OwnAdapter builds no image processor"
    with pytest.raises(SettingError, match=expected):
        OwnAdapter.random_image_processor(SMALL["llava"]())


@pytest.fixture(scope="module")
def clip():
    return random_clip_text(1024, CPU, seed=1)


def test_clip_text_has_the_size_of_vit_l(clip):
    assert sum(parameter.numel() for parameter in clip.text.parameters()) == 123_650_304
    assert clip.visual_projection.shape == (768, 1024)
    assert {parameter.dtype for parameter in clip.text.parameters()} == {torch.float32}
    with torch.device("meta"):
        normal = CLIPTextModelWithProjection(clip.text.config)
    assert clip.text.state_dict().keys() == normal.state_dict().keys()
    positions = dict(clip.text.named_buffers())["text_model.embeddings.position_ids"]
    assert torch.equal(positions, torch.arange(77)[None])


@torch.inference_mode()
def test_clip_text_reads_at_most_77_tokens(clip):
    words = clip.tokenizer("what is left of the star? " * 9, truncation=True, return_tensors="pt")
    assert words["input_ids"].shape == (1, 77)
    assert words["input_ids"][0, [0, -1]].tolist() == [49406, 49407]
    short = clip.tokenizer("what is left of the star?", return_tensors="pt")
    embeddings = [clip.text(**tokens).text_embeds for tokens in (words, short)]
    assert embeddings[0].shape == (1, 768)
    assert torch.stack(embeddings).isfinite().all()
    assert not torch.allclose(*embeddings)
