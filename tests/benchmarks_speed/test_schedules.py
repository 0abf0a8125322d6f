"""Every method inside the LLM that runs on images is timed beside the share that its operations say."""

from __future__ import annotations

import json

import pytest
import schedules
import torch
from flop_counter import counted
from transformers import AutoModelForCausalLM, LlamaConfig

import script_exp.pruners as exported
from script_exp.pruners import Composed, LayerPruner


@pytest.fixture
def small(monkeypatch):
    config = LlamaConfig(
        vocab_size=32, hidden_size=32, intermediate_size=48, num_hidden_layers=8, num_attention_heads=4,
        num_key_value_heads=2, pad_token_id=None,
    )  # fmt: skip
    monkeypatch.setattr(schedules, "text_config", lambda device: config)
    monkeypatch.setattr(schedules, "_SIDE", 12)
    monkeypatch.setattr(schedules, "_BUDGET", 48)
    return config


def test_every_method_inside_the_llm_is_measured():
    """But those that need a video, or another method before them."""
    classes = {getattr(exported, name) for name in exported.__all__}
    pruners = {one for one in classes if isinstance(one, type) and issubclass(one, LayerPruner)}
    made = {type(make(budget=48)) for make in schedules.METHODS.values()}
    assert made == {one for one in pruners if not one.needs_frames} - {LayerPruner, Composed}


def test_it_writes_times_operations_and_a_table(small, tmp_path, capsys):
    schedules.main(["--device", "cpu", "--repeats", "1", "--warm-up", "0", "--results", str(tmp_path)])
    report = json.loads((tmp_path / "schedules-cpu.json").read_text())
    (case,) = report["cases"]
    assert case["operations"].keys() == case["by_layer"].keys() == schedules.METHODS.keys()
    assert case["ms"].keys() == {"unpruned", "unpruned again", *schedules.METHODS}
    for name, lengths in case["by_layer"].items():
        assert sum(lengths) / 8 == pytest.approx(48, abs=9 if name == "vtw" else 0.51)
    table = (tmp_path / "schedules-cpu.md").read_text()
    assert table in capsys.readouterr().out
    assert len(table.splitlines()) == 3 + len(schedules.METHODS)


def test_other_tokens_than_the_schedule_says_are_an_error(small, tmp_path, monkeypatch):
    monkeypatch.setattr(schedules, "prefill", lambda *_: [1] * 8)
    with pytest.raises(RuntimeError, match="fastv: the caches hold"):
        schedules.main(["--device", "cpu", "--results", str(tmp_path)])


def test_operations_are_those_that_a_counter_sees(small):
    model = AutoModelForCausalLM.from_config(small, attn_implementation="eager").eval()
    embeddings = torch.randn(1, 144 + 60, 32)
    for make in (None, *schedules.METHODS.values()):
        pruner = make and make(budget=48)
        with torch.inference_mode():
            seen = counted(lambda pruner=pruner: schedules.prefill(model, embeddings, pruner))
        assert seen == schedules.operations(small, pruner)
