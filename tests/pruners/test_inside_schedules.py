"""Schedules of the methods inside the LLM: published ones, and the lowest budgets that they can meet."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from layer_llms import llava
from layer_reference import llava_inputs, llava_row, shaped
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from script_exp.errors import SettingError
from script_exp.pruners import (
    DART,
    VTW,
    Composed,
    FastV,
    FastVID,
    Feather,
    FitPrune,
    FrameFusionInside,
    HiMAP,
    HoliTom,
    HoliTomInside,
    PruneVid,
    PruneVidInside,
    SparseVLM,
    SparseVLMPlus,
    V2Drop,
)
from script_exp.pruners.contract.layer_signals import LayerState, Rows, States
from script_exp.pruners.inside_llm.sparsevlm_plus import pull


def average(pruner, tokens=576, layers=32):
    return sum(pruner.lengths(tokens, layers)) / layers


def test_vtw_withdraws_everything_at_a_layer_that_follows_from_the_budget():
    assert VTW(budget=270).schedule(576, 32) == {15: 0}
    assert VTW(budget=0.5).schedule(576, 28) == {14: 0}
    assert VTW(budget=576).schedule(576, 32) == {}
    assert VTW(budget=64).schedule(576, 32) == {4: 0}
    assert average(VTW(budget=64)) == 72  # 18 tokens a layer
    with pytest.raises(SettingError, match="budget=9: expected at least 10 as an average over 32 layers"):
        VTW(budget=9).schedule(576, 32)
    assert VTW(budget=10).schedule(576, 32) == {1: 0}
    with pytest.raises(SettingError, match="budget_as=after: expected one of average"):
        VTW(budget=64, budget_as="after")


def test_darts_default_leaves_132():
    assert DART(budget=132, budget_as="after").lengths(576, 32) == [576] * 2 + [132] * 30
    assert average(DART(budget=132, budget_as="after")) == 159.75


def test_the_second_stages_of_video_methods_leave_what_is_published():
    """Of what enters, and the mean: HoliTom 0.821, PruneVid 0.606, FlashVID's division of a budget 0.8."""
    for before, inside, layers, share, stays in (
        (HoliTom, HoliTomInside, 28, 23 / 28, 0.5), (PruneVid, PruneVidInside, 32, 19.4 / 32, 0.4),
        (FastVID, partial(FastV, layer=20), 28, 1 / 1.25, 0.3),
    ):  # fmt: skip
        parts = {"before": before(budget=1), "inside": inside(budget=1)}
        whole = Composed(budget=0.1, expansion=1 / share, **parts)
        entering, *_, left = whole.lengths(100_000, layers)
        assert entering == round(10_000 / share)
        assert left / entering == pytest.approx(stays, abs=1e-4)
        assert average(whole, 100_000, layers) == pytest.approx(10_000, abs=0.5)
        with pytest.raises(
            SettingError, match=f"budget=0.1: expected at least .* {layers} layers, since the"
        ):
            inside(budget=0.1).lengths(100_000, layers)
    assert FrameFusionInside(budget=1).stage_layers(28) == [2]


PUBLISHED = [  # list, mean over the layers' inputs, what is left at the end
    (SparseVLMPlus, 192, 206.8, 118), (SparseVLMPlus, 128, 144.1, 60), (SparseVLMPlus, 96, 113.9, 28),
    (SparseVLMPlus, 64, 81.8, 20), (SparseVLM, 192, 206.5, 113), (SparseVLM, 128, 145.4, 39),
    (SparseVLM, 96, 114.1, 27), (SparseVLM, 64, 82.3, 18),
    (V2Drop, 192, 193.4, 0), (V2Drop, 128, 130.7, 0), (V2Drop, 64, 66.8, 0),
    (HiMAP, 144, 144.0, 72), (FitPrune, 302, 302, 173), (FitPrune, 245, 245, 127), (FitPrune, 188, 188, 88),
    (FitPrune, 131, 131, 62), (FitPrune, 73, 73, 37), (Feather, 208, 208.0, 19),
]  # fmt: skip


OUTPUTS = {
    SparseVLM: {192: 192.03, 128: 128.6, 96: 96.9, 64: 64.8},
    SparseVLMPlus: {192: 192.4, 128: 128.0, 96: 96.8, 64: 64.4},
}


@pytest.mark.parametrize(("make", "name", "mean", "final"), PUBLISHED)
def test_published_lists_have_the_means_that_are_said(make, name, mean, final):
    pruner = make(budget=name, budget_as="published")
    lengths = pruner.lengths(576, 32)
    assert average(pruner) == pytest.approx(mean, abs=0.5 if make is FitPrune else 0.051)
    assert lengths[-1] == final
    if make in OUTPUTS:  # its name is the mean over the layers' outputs
        outputs = [*lengths[1:], lengths[-1]]
        assert sum(outputs) / 32 == pytest.approx(OUTPUTS[make][name], abs=0.05)
    with pytest.raises(SettingError, match=f"budget={name + 1}: expected one of .*{name}"):
        make(budget=name + 1, budget_as="published")


@pytest.mark.parametrize("make", [SparseVLM, SparseVLMPlus, V2Drop, HiMAP, FitPrune, Feather])
@pytest.mark.parametrize("layers", [32, 28, 40, 6])
def test_the_mean_over_the_layers_is_the_budget(make, layers):
    for share in (0.4, 0.55, 0.9):
        pruner = make(budget=share)
        assert average(pruner, 2880, layers) == pytest.approx(share * 2880, abs=0.51)
    assert make(budget=576).lengths(576, layers) == [576] * layers
    if "after" in make.meanings:
        for left in (1, 37, 128):
            assert make(budget=left, budget_as="after").lengths(576, layers)[-1] == left
    with pytest.raises(SettingError, match=rf"budget=5: expected at least \d+ as an average over {layers}"):
        make(budget=5).schedule(576, layers)


@torch.inference_mode()
def test_deleting_inside_a_layer_is_dropping_before_the_next():
    """FitPrune's released code deletes between attention and MLP, from the residual stream as well."""
    model, _ = llava("llama")
    llm, row = model.model.language_model, llava_row(model, llava_inputs(1), 0)
    layer, hidden, kept = llm.layers[0], row.embeddings, torch.arange(0, row.embeddings.shape[1], 2)
    rotary, mask = shaped(llm, hidden, row.positions, None)
    after = layer(hidden, attention_mask=mask, position_embeddings=rotary)[:, kept]
    mixed, _ = layer.self_attn(layer.input_layernorm(hidden), attention_mask=mask, position_embeddings=rotary)
    inside = (hidden + mixed)[:, kept]
    inside = inside + layer.mlp(layer.post_attention_layernorm(inside))
    torch.testing.assert_close(inside, after, atol=1e-6, rtol=1e-5)


def test_a_token_that_its_layer_does_not_change_has_no_score():
    before = torch.arange(12.0).reshape(4, 3)
    after = before + torch.tensor([0.0, 3.0, 1.0, 2.0])[:, None]
    signals = {States("entering"): before, States("leaving"): after}
    chosen = V2Drop(budget=4).select(LayerState(0, torch.arange(4), signals), 3)
    assert chosen.tolist() == [1, 3, 2]


def test_dart_keeps_its_visual_pivots_whatever_they_resemble():
    """Equal hidden states: the largest keys stay, the rest is filled up by number; in any order of tokens."""
    keys = torch.zeros(20, 4)
    keys[[3, 8, 13, 19]] = torch.tensor([4.0, -5.0, 6.0, -7.0])[:, None]
    same = torch.ones(20, 6)
    text = {"text": torch.ones(3, 4)}, {"text": torch.ones(3, 6)}
    signals = {
        States(kind, of): values
        for kind, by in (("keys", {"visual": keys, **text[0]}), ("normed", {"visual": same, **text[1]}))
        for of, values in by.items()
    }
    chosen = DART(budget=12).select(LayerState(0, torch.arange(20), signals), 12).tolist()
    assert len(set(chosen)) == 12
    assert {3, 8, 13, 19} <= set(chosen)
    turned = dict(signals)
    turned[States("keys", "visual")] = keys.flip(0)
    flipped = DART(budget=12).select(LayerState(0, torch.arange(20), turned), 12).tolist()
    assert {0, 6, 11, 16} <= set(flipped)


def test_words_that_agree_with_the_image_rate():
    embeddings = {"visual": torch.eye(3)[:2] * 9, "text": torch.eye(3)[1:] * 9}
    signals = {States("embeddings", of): values for of, values in embeddings.items()}
    state = LayerState(0, torch.arange(2), signals)
    assert SparseVLMPlus(budget=4).prepare(state).tolist() == [True, False]
    equal = {**signals, States("embeddings", "text"): torch.ones(1, 3)}
    assert SparseVLMPlus(budget=4).prepare(LayerState(0, torch.arange(2), equal)).tolist() == [True]


def test_the_pull_of_positions_falls_with_the_distance():
    """In a head of 128: sqrt(128) at 0, at least 1.19 up to 700, and it would be negative from 1707 on."""
    rotary = LlamaRotaryEmbedding(LlamaConfig(hidden_size=128, num_attention_heads=1))
    ones = torch.ones(1, 1, 1708, 128)
    turned, _ = apply_rotary_pos_emb(ones, ones, *rotary(ones, torch.arange(1708)[None]))
    by_distance = pull(turned[0, 0, :1], turned[0, 0])[0]
    for distance, value in ((0, 128**0.5), (10, 7.6), (100, 5.4), (400, 3.15), (1707, 128**0.5 / 10)):
        assert float(by_distance[distance]) == pytest.approx(value, abs=0.051)
    assert float(by_distance[0]) == pytest.approx(11.3137, abs=1e-4)
    assert float(by_distance[:701].min()) == pytest.approx(1.19, abs=0.01)


@pytest.mark.parametrize(
    ("name", "kept", "merged"),
    [
        (192, [300, 200, 110], [9, 4, 3]), (128, [303, 110, 36], [9, 7, 3]), (96, [238, 48, 26], [11, 7, 1]),
        (64, [66, 30, 17], [16, 2, 1]),
    ],
)  # fmt: skip
def test_sparsevlms_counts_are_kept_and_merged_as_published(name, kept, merged):
    """Merged tokens are means that stand for the best of what is not kept, and come last."""
    pruner, present = SparseVLM(budget=name, budget_as="published"), 576
    torch.manual_seed(0)
    for number, count in enumerate(pruner.schedule(576, 32).values()):
        rows, states = torch.rand(2, present), torch.randn(present, 8)
        signals = {Rows("text", heads="mean"): rows, States("leaving"): states}
        state = LayerState(number, torch.arange(present), signals, prepared=torch.tensor([False, True]))
        choice = pruner.choose(state, count)
        assert (count - choice.moved, choice.moved) == (kept[number], merged[number])
        ranked = rows[1].argsort(descending=True)
        assert choice.chosen[: -choice.moved].tolist() == ranked[: kept[number]].tolist()
        assert torch.equal(choice.states[: -choice.moved], states[ranked[: kept[number]]])
        recycled = int(0.3 * (present - kept[number])) + 1
        pool = set(ranked[kept[number] : kept[number] + recycled].tolist())
        assert set(choice.chosen[-choice.moved :].tolist()) <= pool
        present = count
