"""Errors for folders that are not the expected checkpoint, and the arithmetic of the query encoder."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
import torch
from checkpoints import save_llava, set_config, tokenizer
from original_checkpoints import save_original, save_tokenizer
from PIL import Image
from safetensors.torch import load_file, save_file
from small_llava import batch, images, load

from script_exp.errors import SettingError, UserError
from script_exp.models.loading.checkpoint import find_checkpoint
from script_exp.models.loading.load import load_model, resolve_device, resolve_dtype
from script_exp.models.loading.source import Source
from script_exp.models.loading.wanted import Wanted
from script_exp.pruners import Script
from script_exp.pruners.contract.signals import Reads


def find(folder, clip=None, needs_query=False):
    return find_checkpoint(Wanted(str(folder), clip), needs_query=needs_query)


def test_missing_folder(tmp_path):
    with pytest.raises(
        UserError, match=r"model\.path=.*nowhere: expected a folder with a checkpoint, or the hub id"
    ):
        find(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"model\.path=.*: no config\.json in"):
        find(tmp_path)


def test_config_without_weights(llava_folder, tmp_path):
    shutil.copy(llava_folder / "config.json", tmp_path)
    with pytest.raises(UserError, match="no weights"):
        find(tmp_path)


def test_weights_that_were_cut_off(llava_folder, tmp_path):
    folder = shutil.copytree(llava_folder, tmp_path / "model")
    weights = (folder / "model.safetensors").read_bytes()
    for size in (0, 7, len(weights) // 2):
        (folder / "model.safetensors").write_bytes(weights[:size])
        with pytest.raises(UserError, match=r"model\.safetensors is damaged or truncated"):
            find(folder)


def test_without_clip_only_the_methods_that_ask_are_missing(llava_folder, tmp_path):
    folder = shutil.copytree(llava_folder, tmp_path / "model")
    shutil.rmtree(folder / "clip")
    assert find(folder).clip is None
    with pytest.raises(UserError, match="the pruner needs the text tower"):
        find(folder, needs_query=True)
    checkpoint = find(folder)
    cpu = torch.device("cpu")
    model = load_model(checkpoint, device=cpu, dtype=torch.float32, attention="sdpa")
    inputs, questions = batch(model, 1)
    model.encode_images(inputs)
    with pytest.raises(ValueError, match="no query encoder"):
        model.encode_queries(questions)


def test_a_shard_that_is_missing(llava_folder, tmp_path):
    folder = shutil.copytree(llava_folder, tmp_path / "model")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"x": "model-2.safetensors"}}')
    with pytest.raises(
        UserError, match=r"model-2\.safetensors is missing; model\.safetensors\.index\.json names"
    ):
        find(folder)


@pytest.mark.parametrize("name", ["text_projection.weight", "visual_projection.weight"])
def test_a_clip_that_lacks_weights(llava_folder, tmp_path, name):
    folder = shutil.copytree(llava_folder, tmp_path / "model")
    tensors = load_file(folder / "clip" / "model.safetensors")
    del tensors[name]
    save_file(tensors, folder / "clip" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=name):
        load(folder)


def test_the_fingerprint_covers_weights_tokenizer_and_template(llava_folder, tmp_path):
    folder = shutil.copytree(llava_folder, tmp_path / "model")
    plain = find(folder, needs_query=True)
    assert plain.fingerprint == find(llava_folder, needs_query=True).fingerprint
    seen = {plain.fingerprint, find(folder).fingerprint}
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    seen.add(plain.fingerprint)
    (folder / "chat_template.jinja").write_text("other")
    seen.add(plain.fingerprint)
    (folder / "clip" / "tokenizer.json").write_text("{}")
    seen.add(plain.fingerprint)
    assert len(seen) == 5


def test_the_fingerprint_of_large_weights_notices_a_tuned_projector(tmp_path):
    weights = tmp_path / "model.safetensors"
    with weights.open("wb") as opened:
        opened.truncate(100 * 2**20)
    source = Source("model.path=here", tmp_path)
    before = source.fingerprint()
    with weights.open("r+b") as opened:
        opened.seek(21 * 2**20 + 12_345)
        opened.write(bytes(range(1, 256)) * (8 * 2**20 // 255))
    assert source.fingerprint() != before


def test_sizes_come_from_the_config(llava_folder):
    checkpoint = find(llava_folder)
    assert (checkpoint.llm_layers, checkpoint.tokens_per_crop) == (4, 576)


def test_damaged_config_and_other_architecture(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        find(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match="architecture 'bert'; expected one of llava"):
        find(tmp_path)


@pytest.mark.parametrize("content", [b'{"a": ', b"\xff\xfe"], ids=["cut off", "not text"])
@pytest.mark.parametrize(
    "name", ["config.json", "processor_config.json", "clip/config.json", "clip/tokenizer.json"]
)
def test_damaged_small_files(llava_folder, tmp_path, name, content):
    folder = shutil.copytree(llava_folder, tmp_path / "model")
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}|no usable tokenizer or image processor"):
        load(folder)


@pytest.mark.parametrize("change", ["missing", "unexpected"])
def test_every_tensor_is_accounted_for(tmp_path, change):
    folder = save_llava(tmp_path / "model", grid=4)
    tensors = load_file(folder / "model.safetensors")
    if change == "missing":
        tensors.pop(next(name for name in tensors if "linear_1.weight" in name))
    else:
        tensors["model.surplus"] = torch.zeros(2)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        UserError, match=rf"config.json \({change}: .*({'linear_1' if change == 'missing' else 'surplus'})"
    ):
        load(folder)


def test_devices_and_dtypes():
    with pytest.raises(SettingError, match="device=tpu: expected auto, cpu, cuda"):
        resolve_device("tpu")
    with pytest.raises(SettingError, match="device=cuda:99: expected an available device"):
        resolve_device("cuda:99")
    assert resolve_dtype("auto", torch.device("cpu"), torch.float16) is torch.float32
    assert resolve_dtype("auto", torch.device("cuda"), torch.float16) is torch.float16
    assert resolve_dtype("auto", torch.device("cuda"), None) is torch.float32
    assert resolve_dtype("bfloat16", torch.device("cpu"), None) is torch.bfloat16


def test_the_folder_clip_is_the_default(llava_folder):
    assert find(llava_folder, needs_query=True).clip.folder == llava_folder / "clip"
    with pytest.raises(UserError, match=r"model\.clip=/other: expected a folder"):
        find(llava_folder, "/other", needs_query=True)


def test_patches_are_embedded_from_the_models_own_tower(llava):
    inputs, _ = batch(llava, 1)
    joint = llava.encode_images(inputs, Reads(joint=True))[0].visual.joint
    tower = llava.model.model.vision_tower
    with torch.inference_mode():
        hidden = tower(inputs["pixel_values"], output_hidden_states=True).hidden_states[-2][:, 1:]
        projection = load_file(llava.model.config._name_or_path + "/clip/model.safetensors")
        wanted = tower.post_layernorm(hidden) @ projection["visual_projection.weight"].T
    torch.testing.assert_close(joint, wanted)


def test_adapter_is_chosen_by_the_config(tmp_path):
    folder = save_llava(tmp_path / "model", grid=4)
    set_config(folder, model_type="mllama")
    with pytest.raises(UserError, match="mllama"):
        find(folder)


@pytest.mark.parametrize(
    "layout", [{"suffix": "bin", "anyres": False}, {"suffix": "safetensors", "anyres": True}]
)
def test_the_original_layout_loads_prunes_and_answers(tmp_path, layout):
    save_original(tmp_path, **layout)
    save_tokenizer(tmp_path / "original")
    tokenizer("<s> $A </s>").save_pretrained(tmp_path / "clip")
    model = load(
        tmp_path / "original", clip=str(tmp_path / "clip"), conversation="vicuna_v1", relevance_sign=-1
    )
    prompt = model.chat_prompt("what is it?")
    assert prompt.startswith("A chat between a curious user")
    assert prompt.endswith("<image>\nwhat is it? ASSISTANT:")
    inputs = model.preprocess([images(1, size=40)], [prompt])
    encoded = model.encode_images(inputs, Reads(joint=True))
    pruned = model.prune(inputs, encoded, Script(budget=3), model.encode_queries(["what is it?"]))
    assert pruned.entering == [3 * encoded[0].crops]
    assert len(model.generate(pruned, 2).texts) == 1


def test_a_tower_alone_has_no_queries(tmp_path):
    save_original(tmp_path, suffix="bin", anyres=False, whole_clip=False)
    save_tokenizer(tmp_path / "original")
    clip = str(tmp_path / "clip")
    assert find(tmp_path / "original", clip).layout == "original"
    with pytest.raises(UserError, match="expected a complete CLIP model"):
        find(tmp_path / "original", clip, needs_query=True)
    with pytest.raises(UserError, match="without a config of its vision tower"):
        find(tmp_path / "original")


def test_checkpoints_of_llava_1_5_pad_to_a_square(llava_folder):
    """The hub's checkpoints say center crop; the evaluation that the published numbers come from pads."""
    processor = load(llava_folder).processing.image_processor
    wide = images(1, size=90)[0].crop((0, 0, 90, 30))
    square = Image.new("RGB", (90, 90), tuple(int(mean * 255) for mean in processor.image_mean))
    square.paste(wide, (0, 30))
    padded, wanted = (processor(image, return_tensors="pt").pixel_values for image in (wide, square))
    torch.testing.assert_close(padded, wanted, atol=0, rtol=0)


MEASURE = """
import resource, sys, torch
from script_exp.models.loading.checkpoint import find_checkpoint
from script_exp.models.loading.load import load_model
from script_exp.models.loading.wanted import Wanted
checkpoint = find_checkpoint(Wanted(sys.argv[1]), needs_query=False)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model = load_model(checkpoint, device=torch.device("cpu"), dtype=torch.float16, attention="sdpa")
for parameter in model.model.parameters():
    parameter.sum()  # a mapped file is only read when it is touched
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


@pytest.mark.slow
def test_loading_needs_no_more_memory_than_the_weights(tmp_path):
    folder = save_llava(tmp_path / "model", grid=4, width=1024, layers=8)
    half = {name: tensor.half() for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(half, folder / "model.safetensors", metadata={"format": "pt"})
    size = (folder / "model.safetensors").stat().st_size
    assert size > 100_000_000
    process = subprocess.run(
        [sys.executable, "-c", MEASURE, str(folder)], capture_output=True, text=True, check=True
    )
    assert int(process.stdout) < 1.1 * size + 50_000_000
