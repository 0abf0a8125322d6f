"""The schedules of layer pruners: counts, averages, and budgets that they cannot meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import mul
from typing import ClassVar

import pytest
import torch
from omegaconf import OmegaConf

from script_exp.errors import SettingError
from script_exp.pruners import FastV, LayerPruner, Pyramid
from script_exp.pruners.contract.settings import non_default_fields

DEPTHS = [4, 28, 32, 40]


@pytest.mark.parametrize("layers", DEPTHS)
def test_the_papers_schedule_is_an_average_of_270(layers):
    quarter = layers // 4
    schedule = Pyramid(budget=270).schedule(576, layers)
    assert schedule == {quarter: 288, 2 * quarter: 144, 3 * quarter: 72}
    after = Pyramid(budget=72, budget_as="after")
    assert after.schedule(576, layers) == schedule
    assert after.lengths(576, layers) == [576] * quarter + [288] * quarter + [144] * quarter + [72] * quarter


@pytest.mark.parametrize("tokens", [36, 576, 2880])
@pytest.mark.parametrize("layers", [7, 28, 30, 32, 40])
@pytest.mark.parametrize("stages", [(0.25, 0.5, 0.75), (1,), (1, 2), (0.3, 0.5, 0.8), (2, 0.6)])
def test_the_average_is_as_near_as_rounded_counts_come(tokens, layers, stages):
    """No ratio of a fine grid comes nearer."""
    others = []
    for ratio in (step / 5000 for step in range(5001)):
        others.append([max(1, round(tokens * ratio**stage)) for stage in range(1, len(stages) + 1)])
    for budget in (tokens, tokens - 1, round(tokens * 0.7), round(tokens * 0.5), round(tokens * 0.45)):
        pruner = Pyramid(budget=budget, stages=stages)
        schedule = pruner.schedule(tokens, layers)
        spans = [end - begin for begin, end in pairwise([*schedule, layers])]
        excess = abs(sum(pruner.lengths(tokens, layers)) - budget * layers)
        assert excess <= max(spans) / 2
        rest = budget * layers - min(schedule) * tokens
        assert excess <= min(abs(sum(map(mul, spans, counts)) - rest) for counts in others)


@pytest.mark.parametrize("layers", DEPTHS)
@pytest.mark.parametrize("budget", [1, 64, 575, 576, 0.1])
def test_after_is_what_the_last_stage_keeps(layers, budget):
    pruner = Pyramid(budget=budget, budget_as="after")
    counts = list(pruner.schedule(576, layers).values())
    assert counts[-1] == pruner.lengths(576, layers)[-1] == (58 if budget == 0.1 else budget)
    for before, after in zip([576, *counts], counts, strict=False):
        assert after / before == pytest.approx((counts[-1] / 576) ** (1 / 3), abs=0.5 / before + 0.02)


def test_an_average_has_a_floor_that_is_named():
    with pytest.raises(
        SettingError,
        match="budget=64: expected at least 145 as an average over 32 layers, since the first 8 see",
    ):
        Pyramid(budget=64).schedule(576, 32)
    assert Pyramid(budget=145).lengths(576, 32)[-1] == 1
    with pytest.raises(SettingError, match="budget=144: expected at least 145"):
        Pyramid(budget=144).lengths(576, 32)[-1]
    earlier = Pyramid(budget=64, stages=[2, 8, 16])
    assert earlier.schedule(576, 32) == {2: 111, 8: 21, 16: 4}
    assert sum(earlier.lengths(576, 32)) / 32 == pytest.approx(64, abs=0.1)


@pytest.mark.parametrize("pruner", [FastV, lambda budget: Pyramid(budget=budget, stages=[2, 9])])
@pytest.mark.parametrize("layers", [12, 32, 40])
def test_the_floor_is_the_lowest_budget_that_works(pruner, layers):
    with pytest.raises(SettingError) as error:
        pruner(budget=1).schedule(576, layers)
    floor = int(str(error.value).split("at least ")[1].split()[0])
    assert pruner(budget=floor).lengths(576, layers)[-1] >= 1
    with pytest.raises(SettingError, match=f"at least {floor} "):
        pruner(budget=floor - 1).schedule(576, layers)


@pytest.mark.parametrize("budget_as", ["average", "after"])
def test_one_stage_is_fastv(budget_as):
    for tokens in (36, 577):
        for budget in range(10, tokens + 1, 7):
            for layer in (1, 2, 9):
                settings = {"budget": budget, "budget_as": budget_as}
                try:
                    wanted = FastV(layer=layer, **settings).schedule(tokens, 32)
                except SettingError as error:
                    wanted = str(error)
                try:
                    got = Pyramid(stages=[layer], **settings).schedule(tokens, 32)
                except SettingError as error:
                    got = str(error)
                assert got == wanted


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([], r"stages=\[\]: expected a list of layers"),
        ("8", "stages=8: expected a list"),
        (8, "stages=8: expected a list"),
        ([0], r"stages=\[0\]: expected a list"),
        ([1.5], r"stages=\[1.5\]: expected a list"),
        ([True], r"stages=\[True\]: expected a list"),
        (["8"], r"stages=\['8'\]: expected a list"),
        ([8, 32], "stages=32: expected a decoder layer from 1 to 31; the LLM has 32"),
        ([9, 8], r"stages=\[9, 8\]: expected ascending layers; the LLM has 32"),
        ([8, 0.25], r"stages=\[8, 8\]: expected ascending layers"),
    ],
)
def test_stages_that_do_not_fit(stages, message):
    with pytest.raises(SettingError, match=f"^{message}"):
        Pyramid(budget=300, stages=stages).schedule(576, 32)


def test_shares_of_the_depth_are_layers_that_the_llm_has():
    assert Pyramid(budget=300, stages=[0.01, 0.99]).stage_layers(32) == [1, 31]
    assert Pyramid(budget=300).stage_layers(28) == [7, 14, 21]
    assert Pyramid(budget=300, stages=[3, 0.5]).stage_layers(40) == [3, 20]


def test_the_rows_of_a_prompt():
    pruner = Pyramid(budget=64, budget_as="after")
    crop = pruner.schedule(576, 32)
    assert pruner.row_schedule(2880, 5, 32) == {layer: 5 * count for layer, count in crop.items()}
    assert pruner.row_schedule(2928, 5, 32, tokens=2880) == pruner.row_schedule(2880, 5, 32)
    assert pruner.row_lengths(2928, 5, 32, tokens=2880)[:9] == [2928] * 8 + [5 * crop[8]]
    assert pruner.row_schedule(2134, 4, 32) == {
        layer: 4 * count for layer, count in pruner.schedule(533, 32).items()
    }
    assert Pyramid(budget=576).row_lengths(2134, 4, 32, tokens=4 * 576) == [2134] * 32
    assert Pyramid(budget=560).row_lengths(2134, 4, 32, tokens=4 * 576)[-1] == 2134
    assert pruner.row_lengths(50, 0, 32) == [50] * 32


def test_the_score_is_the_mean_over_heads():
    attention = torch.tensor([[0.1, 0.2, 0.7], [0.3, 0.6, 0.1]])
    torch.testing.assert_close(Pyramid(budget=2).score(attention), torch.tensor([0.2, 0.4, 0.4]))


def test_a_list_from_a_config_is_the_default():
    config = OmegaConf.to_container(OmegaConf.create({"stages": [0.25, 0.5, 0.75]}))
    assert non_default_fields(Pyramid(budget=64, **config)) == {}
    assert non_default_fields(Pyramid(budget=64, stages=[8, 16])) == {"stages": (8, 16)}


@dataclass(kw_only=True)
class Rising(LayerPruner):
    """A method whose counts are not a schedule."""

    numbers: list[int]
    stages_key: ClassVar[str] = "numbers"

    def stage_layers(self, layers: int) -> Sequence[int]:
        return range(1, len(self.numbers) + 1)

    def counts(self, tokens: int, budget: int, spans: Sequence[int]) -> Sequence[int]:
        assert sum(spans) == 8
        return self.numbers

    def score(self, attention):
        return attention.mean(dim=0)


@pytest.mark.parametrize("numbers", [[4, 5], [10], [3, 0]])
def test_counts_never_rise(numbers):
    with pytest.raises(SettingError, match=r"numbers=.*: expected counts from 9 down to 1, not \["):
        Rising(budget=4, budget_as="after", numbers=numbers).schedule(9, 8)
    assert Rising(budget=4, budget_as="after", numbers=[9, 4, 4]).lengths(9, 8) == [9, 9, 4, 4, 4, 4, 4, 4]
