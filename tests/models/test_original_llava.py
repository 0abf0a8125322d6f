"""The layout of LLaVA's authors: the same model as in transformers' layout, or else one clear error."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import shutil

import numpy as np
import pytest
import torch
from checkpoints import set_config
from original_checkpoints import (
    CROP,
    IMAGE,
    PINPOINTS,
    VOCABULARY,
    WIDTH,
    load_bin,
    save,
    save_original,
    save_tokenizer,
)
from PIL import Image
from safetensors.torch import load_file

from script_exp.errors import UserError
from script_exp.models.loading.original_llava import (
    check_original,
    is_original,
    load_original,
    original_config,
)
from script_exp.models.loading.original_processing import original_image_processor, original_tokenizer
from script_exp.models.loading.tensors import check_weights, read_tensors, tensor_shapes, weight_files

LAYOUTS = {
    "v1.5 bin": {"suffix": "bin", "anyres": False},
    "v1.5 safetensors": {"suffix": "safetensors", "anyres": False, "whole_clip": False},
    "v1.6 safetensors": {"suffix": "safetensors", "anyres": True},
}
TOKEN = VOCABULARY


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Layout -> (its folder, the model)."""
    folders = {name: tmp_path_factory.mktemp("llava") for name in LAYOUTS}
    return {name: (folder, save_original(folder, **LAYOUTS[name])) for name, folder in folders.items()}


@pytest.fixture
def v15(saved, tmp_path):
    return shutil.copytree(saved["v1.5 bin"][0], tmp_path / "v1.5")


@pytest.fixture
def v16(saved, tmp_path):
    return shutil.copytree(saved["v1.6 safetensors"][0], tmp_path / "v1.6")


def load(folder, dtype=torch.float32):
    config = original_config(folder / "original", folder / "clip")
    return load_original(folder / "original", folder / "clip", config, dtype=dtype, attention="sdpa")


def check(folder):
    check_original(folder / "original", folder / "clip")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", LAYOUTS)
def test_parameters_and_logits_are_those_of_the_other_layout(saved, tmp_path, name, dtype):
    folder, source = saved[name]
    source.save_pretrained(tmp_path)
    same = type(source).from_pretrained(tmp_path, dtype=dtype)
    check(folder)
    model = load(folder, dtype)
    assert type(model) is type(same)
    assert not model.training
    ours, theirs = model.state_dict(), same.state_dict()
    embedding = "model.language_model.embed_tokens.weight"
    assert torch.equal(ours[embedding][:-1], theirs.pop(embedding))
    assert not ours.pop(embedding)[-1].any()
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    inputs = {"pixel_values": torch.randn(1, 3, CROP, CROP, dtype=dtype)}
    if LAYOUTS[name]["anyres"]:
        inputs = {
            "pixel_values": torch.randn(1, 3, 3, CROP, CROP, dtype=dtype),
            "image_sizes": torch.tensor([[30, 14]]),
        }
    count = len(model.get_image_features(**inputs).pooler_output[0])
    before, after = torch.tensor([1, 11, 12]), torch.arange(20, 30)
    logits = [
        network(input_ids=torch.cat([before, torch.full((count,), token), after])[None], **inputs).logits
        for network, token in ((model, TOKEN), (same, IMAGE))
    ]
    assert logits[0].shape[-1] == VOCABULARY
    assert torch.equal(*logits)


def test_the_text_config_is_that_of_the_file(v15):
    set_config(
        v15 / "original", rope_theta=5e5, rope_scaling={"type": "linear", "factor": 2.0}, rms_norm_eps=3e-5
    )
    config = original_config(v15 / "original", v15 / "clip")
    text = config.text_config
    assert (text.rms_norm_eps, text.num_key_value_heads, text.eos_token_id) == (3e-5, 2, 2)
    assert text.rope_parameters["rope_theta"] == 5e5
    assert text.rope_parameters["factor"] == 2.0
    assert (config.image_token_id, config.image_seq_length, config.dtype) == (TOKEN, 16, torch.float16)


def test_generation_starts_from_the_settings_of_the_file(v15):
    (v15 / "original" / "generation_config.json").write_text('{"eos_token_id": 2, "pad_token_id": 0}')
    assert load(v15).generation_config.eos_token_id == 2


def test_the_layouts_are_told_apart(v15, tmp_path):
    assert is_original(json.loads((v15 / "original" / "config.json").read_text()))
    original_config(v15 / "original", v15 / "clip").save_pretrained(tmp_path)
    assert not is_original(json.loads((tmp_path / "config.json").read_text()))


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("model_type", "llava_mistral", "'llava' or 'llava_llama'"),
        ("mm_projector_type", "linear", "'mlp2x_gelu'"),
        ("mm_resampler_type", "perceiver", "None"),
        ("mm_patch_merge_type", "spatial", "'flat' or 'spatial_unpad'"),
        ("mm_vision_select_feature", "cls_patch", "'patch'"),
        ("mm_vision_select_layer", -4, "a layer from -3 to 3"),
        ("mm_use_im_start_end", True, "False"),
        ("mm_use_im_patch_token", True, "False"),
        ("s2", True, "False"),
        ("tie_word_embeddings", True, "False"),
        ("image_aspect_ratio", "anyres", "None or 'square' or 'pad' with mm_patch_merge_type='flat'"),
    ],
)
def test_values_that_are_not_supported(v15, key, value, expected):
    set_config(v15 / "original", **{key: value})
    with pytest.raises(
        UserError, match=rf"config\.json: {key}={value!r} is not supported; expected {expected}"
    ):
        check(v15)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("image_aspect_ratio", "pad"),
        ("image_grid_pinpoints", None),
        ("image_grid_pinpoints", "(1x1),...,(6x6)"),
        ("image_grid_pinpoints", [[CROP, CROP + 1]]),
    ],
)
def test_values_that_are_not_supported_with_crops(v16, key, value):
    set_config(v16 / "original", **{key: value})
    with pytest.raises(UserError, match=rf"config\.json: {key}=.* is not supported"):
        check(v16)


def test_a_key_whose_default_is_not_supported(v15):
    drop_keys(v15, "mm_projector_type")
    with pytest.raises(
        UserError,
        match=r"mm_projector_type='linear' is not supported.*the key is missing.*default is 'linear'",
    ):
        check(v15)


@pytest.mark.parametrize("key", ["rms_norm_eps", "mm_hidden_size"])
def test_a_key_that_is_missing(v15, key):
    drop_keys(v15, key)
    with pytest.raises(UserError, match=f"{key} is missing"):
        check(v15)


def drop_keys(folder, *keys):
    file = folder / "original" / "config.json"
    file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k not in keys}))


def test_a_clip_of_another_width(v15):
    set_config(v15 / "original", mm_hidden_size=WIDTH + 8)
    with pytest.raises(
        UserError, match=r"is 32 wide, but .*mm_hidden_size=40; .*mm_vision_tower=openai/clip"
    ):
        check(v15)


@pytest.mark.parametrize("name", ["openai/clip-vit-tiny-patch4", "models/clip-vit-tiny-patch8-16/"])
def test_a_clip_of_another_resolution(v15, name):
    set_config(v15 / "original", mm_vision_tower=name)
    with pytest.raises(UserError, match=f"patches of 4 in images of 16 pixels.*mm_vision_tower={name}"):
        check(v15)


def test_a_tower_in_the_checkpoint_that_the_clip_does_not_describe(v16):
    set_config(v16 / "original", mm_vision_tower="mine", image_grid_pinpoints=[[24, 48]])
    clip = json.loads((v16 / "clip" / "config.json").read_text())
    set_config(v16 / "clip", vision_config=clip["vision_config"] | {"image_size": 24})
    with pytest.raises(
        UserError, match=r"of the wrong shape: .*position_embedding\.weight \[17, 32\] instead of \[37, 32\]"
    ):
        check(v16)


def test_a_vision_folder_that_is_no_clip(v15):
    set_config(v15 / "clip", model_type="siglip")
    with pytest.raises(UserError, match="model_type='siglip' is not supported; expected 'clip' or"):
        check(v15)
    with pytest.raises(UserError, match=r"nowhere.config\.json is missing"):
        check_original(v15 / "original", v15 / "nowhere")


FIRST = "pytorch_model-00001-of-00002.bin"
LAST = "pytorch_model-00002-of-00002.bin"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("model.mm_projector.0.bias"), r"missing: \S*linear_1\.bias\)"),
        (
            lambda tensors: tensors.update({"model.mm_projector.4.bias": torch.ones(1)}),
            r"unexpected: \S*projector\.4\.bias\)",
        ),
        (
            lambda tensors: tensors.update({"model.mm_projector.0.bias": torch.ones(7)}),
            r"of the wrong shape: \S*linear_1\.bias \[7\] instead of \[40\]\)",
        ),
    ],
)
def test_tensors_that_do_not_fit(v15, change, message):
    file = next(f for f in (v15 / "original").glob("*.bin") if "model.mm_projector.0.bias" in load_bin(f))
    tensors = load_bin(file)
    change(tensors)
    save(tensors, file)
    for attempt in (check, load):
        with pytest.raises(UserError, match=message):
            attempt(v15)


def test_part_of_a_tower_is_not_filled_up(v16):
    for file in (v16 / "original").glob("*.safetensors"):
        save({n: t for n, t in load_file(file).items() if not n.endswith("class_embedding")}, file)
    for attempt in (check, load):
        with pytest.raises(UserError, match=r"missing: model\.vision_tower\.embeddings\.class_embedding\)"):
            attempt(v16)


def test_a_clip_that_lacks_weights(v15):
    file = v15 / "clip" / "pytorch_model.bin"
    save({n: t for n, t in load_bin(file).items() if not n.startswith("vision_model.encoder.")}, file)
    with pytest.raises(
        UserError,
        match=r"clip: its tensors do not match.*missing: model\.vision_tower\.encoder.* and 40 more",
    ):
        check(v15)


def test_more_layers_than_the_config_says(v15):
    set_config(v15 / "original", num_hidden_layers=1)
    with pytest.raises(UserError, match=r"unexpected: model\.language_model\.layers\.1\..* and 1 more"):
        check(v15)


def test_files_that_are_missing_damaged_or_cut_off(v15):
    original = v15 / "original"
    weights = (original / LAST).read_bytes()
    for size in (0, 7, len(weights) // 2):
        (original / LAST).write_bytes(weights[:size])
        for attempt in (check, load):
            with pytest.raises(UserError, match=rf"{LAST} is damaged or truncated"):
                attempt(v15)
        with pytest.raises(UserError, match=rf"model\.path=here: .*{LAST} is damaged or truncated"):
            check_weights("model.path=here", original)
    (original / LAST).unlink()
    with pytest.raises(UserError, match=rf"{LAST} is missing; pytorch_model\.bin\.index\.json names it"):
        check(v15)
    (original / "pytorch_model.bin.index.json").write_text('{"weight_map"')
    with pytest.raises(UserError, match=r"index\.json is damaged; expected JSON with a weight_map"):
        check(v15)
    (original / "pytorch_model.bin.index.json").unlink()
    with pytest.raises(UserError, match=r"no weights in .*; expected one of model\.safetensors, "):
        check(v15)


def test_a_clip_that_is_cut_off(v15):
    file = v15 / "clip" / "pytorch_model.bin"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"clip.pytorch_model\.bin is damaged or truncated"):
        check(v15)


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("old_format", [False, True])
def test_nothing_is_unpickled(v15, tmp_path, old_format):
    trace = tmp_path / "trace"
    torch.save(
        {"model.norm.weight": Evil(trace)}, v15 / "original" / FIRST,
        _use_new_zipfile_serialization=not old_format,
    )  # fmt: skip
    original = v15 / "original"
    for attempt in (
        lambda: check(v15),
        lambda: load(v15),
        lambda: tensor_shapes(original),
        lambda: read_tensors(original, bool),
    ):
        with pytest.raises(UserError, match=FIRST):
            attempt()
    assert not trace.exists()


@pytest.mark.parametrize("content", [[torch.ones(1)], {"state_dict": {"x": torch.ones(1)}}])
def test_a_bin_that_is_no_checkpoint(v15, content):
    torch.save(content, v15 / "original" / FIRST)
    with pytest.raises(UserError, match=f"{FIRST} does not hold a checkpoint"):
        check(v15)


@pytest.mark.parametrize("name", LAYOUTS)
def test_wanted_tensors_are_read(saved, name):
    original = saved[name][0] / "original"
    assert all(file.is_file() for file in weight_files(original))
    wanted = {"lm_head.weight", "model.norm.weight"}
    tensors = read_tensors(original, wanted.__contains__)
    assert tensors.keys() == wanted
    assert torch.equal(tensors["lm_head.weight"], saved[name][1].lm_head.weight.half())


def test_safetensors_are_read_before_bin_and_one_file_before_shards(v15):
    original = v15 / "original"
    save({"x": torch.ones(1)}, original / "pytorch_model.bin")
    assert weight_files(original) == [original / "pytorch_model.bin"]
    save({"y": torch.ones(1)}, original / "model.safetensors")
    assert set(tensor_shapes(original)) == {"y"}


def token_texts(folder, text):
    tokenizer = original_tokenizer(folder / "original", original_config(folder / "original", folder / "clip"))
    return tokenizer.convert_ids_to_tokens(tokenizer(text).input_ids)


def test_text_around_an_image_is_tokenized_by_itself(v15):
    save_tokenizer(v15 / "original")
    assert token_texts(v15, "ab <image>\na b") == [
        "<s>",
        "▁a",
        "b",
        "▁",
        "<image>",
        "▁",
        "<0x0A>",
        "a",
        "▁",
        "b",
    ]
    assert token_texts(v15, "<image><image>a") == ["<s>", "<image>", "<image>", "▁a"]
    assert token_texts(v15, "<image> a") == ["<s>", "<image>", "▁", "▁a"]


def test_the_tokenizer_pads_on_the_left(v15):
    save_tokenizer(v15 / "original")
    tokenizer = original_tokenizer(v15 / "original", original_config(v15 / "original", v15 / "clip"))
    assert tokenizer.convert_tokens_to_ids("<image>") == TOKEN
    rows = tokenizer(["a b", "a"], padding=True).input_ids
    assert rows[1][:2] == [tokenizer.unk_token_id, tokenizer.unk_token_id]
    assert tokenizer.decode(tokenizer("ab a").input_ids, skip_special_tokens=True) == "ab a"


def test_a_tokenizer_with_another_vocabulary(v15):
    save_tokenizer(v15 / "original")
    set_config(v15 / "original", vocab_size=VOCABULARY + 1)
    with pytest.raises(UserError, match=f"<image> the id {VOCABULARY}; expected {VOCABULARY + 1}"):
        token_texts(v15, "a")


def test_a_tokenizer_that_is_missing_or_needs_sentencepiece(v15, monkeypatch):
    with pytest.raises(UserError, match=r"has no tokenizer; expected tokenizer\.model or tokenizer\.json"):
        token_texts(v15, "a")
    (v15 / "original" / "tokenizer.model").write_bytes(b"x")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"tokenizer\.model needs sentencepiece, which is not installed"):
        token_texts(v15, "a")


def test_tokens_are_those_of_sentencepiece(v15):
    sentencepiece = pytest.importorskip("sentencepiece")
    original = v15 / "original"
    (original / "tokenizer.model").write_bytes(b"x")
    with pytest.raises(UserError, match=r"tokenizer\.model is damaged"):
        token_texts(v15, "a")
    corpus = original / "corpus.txt"
    corpus.write_text("what color is the star\nis the star red or  blue\nthe ring is   red\n" * 20)
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(original / "tokenizer"), vocab_size=300, model_type="bpe",
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True, minloglevel=2,
    )  # fmt: skip
    model = sentencepiece.SentencePieceProcessor(model_file=str(original / "tokenizer.model"))
    set_config(original, vocab_size=model.get_piece_size())
    tokenizer = original_tokenizer(original, original_config(original, v15 / "clip"))
    for before, after in (("the  star: ", "\nwhat is   it?"), ("", " red or\tblué"), ("is the", "")):
        ids = [1, *model.encode(before), model.get_piece_size(), *model.encode(after)]
        assert tokenizer(f"{before}<image>{after}").input_ids == ids


def picture(width, height):
    values = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def normalized(image, processor):
    values = np.asarray(image, dtype=np.float64) / 255
    return ((values - processor.image_mean) / processor.image_std).transpose(2, 0, 1)


def squared(image, color):
    """``image`` in the middle of a square of ``color``."""
    side = max(image.size)
    result = Image.new("RGB", (side, side), color)
    result.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return result


@pytest.mark.parametrize(("width", "height"), [(40, 21), (21, 40), (30, 30)])
@pytest.mark.parametrize("ratio", ["pad", "square"])
def test_v15_pads_to_a_square_with_the_mean_color(v15, ratio, width, height):
    set_config(v15 / "original", image_aspect_ratio=ratio)
    processor = original_image_processor(original_config(v15 / "original", v15 / "clip"), v15 / "clip")
    image = picture(width, height)
    pixels = processor(image, return_tensors="pt").pixel_values[0]
    assert pixels.shape == (3, CROP, CROP)
    square = squared(image, tuple(int(mean * 255) for mean in processor.image_mean))
    wanted = normalized(square.resize((CROP, CROP), Image.Resampling.BICUBIC), processor)
    same = np.allclose(pixels, wanted, atol=1e-5)
    assert same == (ratio == "pad" or width == height)


def original_crops(image):
    """The whole image and the crops of the best grid, as (width, height); the first of equally good ones."""

    def fit(grid):
        scale = min(grid[0] / image.width, grid[1] / image.height)
        used = int(image.width * scale) * int(image.height * scale)
        used = min(used, image.width * image.height)
        return used, used - grid[0] * grid[1]

    width, height = max(PINPOINTS, key=fit)
    if width / image.width < height / image.height:
        size = width, min(math.ceil(image.height * width / image.width), height)
    else:
        size = min(math.ceil(image.width * height / image.height), width), height
    canvas = Image.new("RGB", (width, height))
    canvas.paste(image.resize(size), ((width - size[0]) // 2, (height - size[1]) // 2))
    boxes = [(x, y, x + CROP, y + CROP) for y in range(0, height, CROP) for x in range(0, width, CROP)]
    return [image.resize((CROP, CROP)), *(canvas.crop(box) for box in boxes)]


@pytest.mark.parametrize(
    ("width", "height"),
    [(10, 10), (12, 9), (9, 12), (16, 16), (40, 21), (21, 40), (64, 15), (15, 64), (33, 31)],
)
def test_v16_crops_are_those_of_the_original(v16, width, height):
    processor = original_image_processor(original_config(v16 / "original", v16 / "clip"), v16 / "clip")
    image = picture(width, height)
    pixels = processor(image, return_tensors="pt").pixel_values[0]
    wanted = np.stack([normalized(crop, processor) for crop in original_crops(image)])
    assert pixels.shape == wanted.shape
    assert np.allclose(pixels, wanted, atol=1e-5)


def test_image_settings_that_are_missing_or_of_another_clip(v15):
    config = original_config(v15 / "original", v15 / "clip")
    file = v15 / "clip" / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"crop_size": 24, "size": 24}))
    with pytest.raises(UserError, match=r"preprocessor_config\.json: size=.*24.*: expected 16"):
        original_image_processor(config, v15 / "clip")
    file.unlink()
    with pytest.raises(UserError, match=r"preprocessor_config\.json is missing"):
        original_image_processor(config, v15 / "clip")
