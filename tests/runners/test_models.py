"""Models through the runner: random weights, a user's own family, and folders that are not valid."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path

import pytest
from checkpoints import save_clip
from contributing import printed
from families import CONFIGS
from processes import ROOT, last_line, run
from transformers import LlavaForConditionalGeneration

CONFIG_OF = {
    "llava_1_5_7b": "llava", "llava_next_7b": "llava_next", "llava_onevision_7b": "llava_onevision",
    "qwen2_5_vl_7b": "qwen2_5_vl",
}  # fmt: skip
MADE_UP = """
from transformers import (
    AutoConfig, AutoModelForImageTextToText, LlavaConfig, LlavaForConditionalGeneration,
)
from script_exp.models.families.llava import LlavaAdapter
from script_exp.models.rules import PruningRules

class MadeUpConfig(LlavaConfig):
    model_type = "made_up"

class MadeUpForConditionalGeneration(LlavaForConditionalGeneration):
    config_class = MadeUpConfig

{adapter}
AutoConfig.register("made_up", MadeUpConfig)
AutoModelForImageTextToText.register(MadeUpConfig, MadeUpForConditionalGeneration)
"""


@pytest.mark.parametrize(("name", "pruner"), list(zip(CONFIG_OF, ["pyramid", "script"] * 2, strict=True)))
def test_random_weights_measure_but_never_score(tmp_path, name, pruner):
    CONFIGS[CONFIG_OF[name]]().save_pretrained(tmp_path / "model")
    budget = 40 if pruner == "script" else 0.5  # half of the tokens, whatever the image's size
    line = last_line(
        run(
            f"model={name}", f"model.path={tmp_path / 'model'}", "model.weights=random", f"pruner={pruner}",
            f"budget={budget}", "benchmark.scenes=1", "limit=2", "unpruned=off",
            f"outputs={tmp_path / 'outputs'}",
        )
    )  # fmt: skip
    assert line["accuracy"] is None
    assert line["llm_prefill_ms"] > 0
    run_dir = Path(line["run_dir"])
    result = json.loads((run_dir / "result.json").read_text())
    assert result["accuracy"] is None
    assert result["provenance"][0]["weights"] == "random"
    assert not (run_dir / "samples.jsonl").exists()
    assert result["tokens"]["layer_average"] < result["tokens"]["visual"]
    assert result["kv_cache_bytes"] == pytest.approx(result["latency"]["kv_cache_bytes_held"])


def test_a_family_is_one_file_and_one_config(tmp_path, llava_folder, monkeypatch):
    (tmp_path / "made_up.py").write_text(MADE_UP.format(adapter=printed("MadeUpAdapter")))
    monkeypatch.syspath_prepend(tmp_path)
    made_up = importlib.import_module("made_up")
    llava = LlavaForConditionalGeneration.from_pretrained(llava_folder)
    settings = {key: value for key, value in llava.config.to_dict().items() if key != "model_type"}
    model = made_up.MadeUpForConditionalGeneration(made_up.MadeUpConfig(**settings))
    model.load_state_dict(llava.state_dict())
    folder = shutil.copytree(llava_folder, tmp_path / "model")
    model.save_pretrained(folder)
    conf = tmp_path / "conf" / "model"
    conf.mkdir(parents=True)
    tiny = (ROOT / "conf" / "model" / "tiny.yaml").read_text()
    changed = tiny.replace("name: tiny", "name: made_up").replace("path: embedded", f"path: {folder}")
    (conf / "made_up.yaml").write_text(changed.replace("adapter: null", "adapter: made_up.MadeUpAdapter"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    line = last_line(
        run(
            "model=made_up", "budget=16", "limit=2", "latency=off", "unpruned=off",
            f"outputs={tmp_path / 'outputs'}", f"hydra.searchpath=[file://{tmp_path / 'conf'}]",
        )
    )  # fmt: skip
    assert line["tokens_kept"] == 16


def test_a_model_is_not_filed_under_another_name(tmp_path, llava_folder):
    message = fails(tmp_path, "model=llava_onevision_7b", f"model.path={llava_folder}", "pruner=random")
    assert "is a llava with 4 layers of width 40: expected a llava_onevision with" in message
    assert message.endswith("for model=llava_onevision_7b")


def fails(tmp_path, *arguments):
    """The one sentence of a run that cannot start; it leaves nothing behind."""
    process = run(*arguments, f"outputs={tmp_path / 'outputs'}")
    assert process.returncode == 2, process.stderr
    assert not (tmp_path / "outputs").exists()
    errors = process.stderr.splitlines()
    assert len(errors) == 1
    return errors[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["model=llava_1_5_7b"],
            "model.path=llava-hf/llava-1.5-7b-hf: expected a folder, or a hub id in the local cache",
        ),
        (["model.adapter=nowhere.Adapter"], "model.adapter=nowhere.Adapter: expected the dotted name"),
        (["model.adapter=pathlib.Path"], "model.adapter=pathlib.Path: expected a subclass of"),
        (["model.weights=random"], "model.weights=random: expected a folder with a config.json"),
        (["model.positions=kept"], "model.positions=kept: expected one of contiguous, preserved"),
        (["+model.newlines=keep"], "model.newlines=keep: expected the keys name, path"),
        (["model.conversation=plain"], "model.conversation=plain: expected one of chat_template, vicuna_v1"),
        (
            ["model.conversation=paligemma"],
            "model.conversation=paligemma: expected one of chat_template, vic",
        ),
        (
            ["model=paligemma_3b", "model.weights=random", "model.compile=default"],
            "model.compile=default: expected off: tokens of this model's prompts see later ones",
        ),
        (["attention=flash_attention_2"], "attention=flash_attention_2: expected sdpa or eager"),
        (
            ["model=qwen2_5_vl_7b", "model.weights=random", "model.positions=contiguous"],
            "model.positions=contiguous: expected preserved",
        ),
        (["model=llava_1_5_7b", "model.weights=random", "budget=577"], "budget=577: expected at most 576"),
        (
            ["model=llava_1_5_7b", "model.weights=random", "pruner=fastv", "pruner.layer=32"],
            "pruner.layer=32: expected a decoder layer from 1 to 31; the LLM has 32",
        ),
        (
            ["model=qwen2_5_vl_7b", "model.weights=random", "pruner=fastv", "pruner.layer=99"],
            "pruner.layer=99: expected a decoder layer from 1 to 27; the LLM has 28",
        ),
        (
            ["model=qwen2_5_vl_7b", "model.weights=random", "pruner=fastv", "pruner.budget_as=average"],
            "pruner.budget_as=average: expected after, or a share as budget",
        ),
        (
            ["model=qwen2_5_vl_7b", "model.weights=random", "pruner=pyramiddrop", "budget=0.5"],
            "pruner.positions=renumber: expected keep: positions of this model are places in the picture",
        ),
        (
            ["model=qwen2_5_vl_7b", "model.weights=random", "pruner=sparsevlm", "budget=0.5"],
            "pruner=SparseVLM: expected a method that keeps positions",
        ),
        (
            ["model=llava_1_5_7b", "model.weights=random", "pruner=holitom_inside", "pruner.stages=[32]"],
            "pruner.stages=32: expected a decoder layer from 1 to 31; the LLM has 32",
        ),
        (
            ["model=qwen2_5_vl_7b", "model.weights=random", "pruner=trim"],
            "pruner.aggregate=True: expected false",
        ),
        (["pruner=trim", "model.positions=preserved"], "model.positions=preserved: expected contiguous"),
        (
            ["model=llava_next_video_7b", "model.weights=random"],
            "benchmark=shapes: expected one with videos",
        ),
        (
            ["benchmark=mvbench"],
            "benchmark=mvbench: expected one with images; model=tiny does not take videos",
        ),
        (["model.path=null"], "model.path=None: expected text"),
        (
            ["model=llava_1_5_7b", "model.weights=random", "pruner=fastv", "budget=32"],
            "budget=32: expected at least",
        ),
    ],
)
def test_mistakes_are_found_before_anything_is_loaded(tmp_path, arguments, message):
    assert fails(tmp_path, *arguments).startswith(f"error: {message}")


def test_a_clip_that_does_not_fit_is_found_from_its_headers(tmp_path, llava_folder):
    model = f"model.path={llava_folder}"
    narrow = save_clip(tmp_path / "narrow", width=20, joint=8)
    assert "takes 20 features" in fails(tmp_path, model, f"model.clip={narrow}")
    coarse = save_clip(tmp_path / "coarse", width=32, joint=8, grid=7)
    assert "49 patches, but the model's has 576" in fails(tmp_path, model, f"model.clip={coarse}")
