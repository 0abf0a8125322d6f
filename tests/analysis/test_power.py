"""How many samples tell two methods apart: the simulation against sums over binomial distributions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from made_runs import draw, save_run
from scipy import stats

from script_exp.analysis.power import Flips, Simulation
from script_exp.commands.power import main

REPEATS = 20_000


def alone(differ, difference, count):
    """``count`` answers, each a unit of its own, of which these shares differ, and differ more one way."""
    won, lost = round(count * (differ + difference) / 2), round(count * (differ - difference) / 2)
    return Flips(np.repeat(np.eye(3, dtype=int), [won, lost, count - won - lost], axis=0))


def exact_power(differ, difference, count, size=1, level=0.05):
    """The power with ``count`` independent units of ``size`` answers that agree with each other."""
    power = 0.0
    for differing in range(1, count + 1):
        won = np.arange(differing + 1)
        fewer = size * np.minimum(won, differing - won)
        found = 2 * stats.binom.cdf(fewer, size * differing, 0.5) <= level
        better = stats.binom.pmf(won, differing, (differ + difference) / (2 * differ))
        power += stats.binom.pmf(differing, count, differ) * better[found].sum()
    return power


@pytest.mark.parametrize(
    ("differ", "observed", "difference", "count"),
    [
        (0.2, 0.1, 0.1, 150),
        (0.2, 0.0, 0.1, 150),  # lost answers are turned
        (0.3, 0.25, 0.1, 100),  # won answers are turned
        (0.3, -0.2, 0.15, 100),  # the second method is better
        (0.1, 0.05, 0.0, 80),  # false alarms
    ],
)
def test_the_power_of_independent_answers(differ, observed, difference, count):
    flips = alone(differ, observed, 400)
    assert flips.share == pytest.approx(differ)
    expected = exact_power(differ, difference, count)
    found = Simulation(REPEATS).power(flips, 100 * difference, count)
    assert found == pytest.approx(expected, abs=4 * np.sqrt(0.25 / REPEATS))
    assert 0.01 < expected < 0.95  # else nearly everything would pass


def test_more_than_the_methods_differ_by():
    """Then every answer that differs is won, and so are others: the test finds six of them or more."""
    found = Simulation(REPEATS).power(alone(0.02, 0.0, 400), 5, 100)
    assert found == pytest.approx(stats.binom.sf(5, 100, 0.05), abs=4 * np.sqrt(0.25 / REPEATS))


def test_answers_that_cluster():
    """Four answers to one image that always agree count as one, but McNemar's test counts them as four."""
    flips = Flips(4 * alone(0.4, 0.0, 200).counts)
    found = Simulation(REPEATS).power(flips, 0, 4 * 50)
    assert found == pytest.approx(exact_power(0.4, 0.0, 50, size=4), abs=4 * np.sqrt(0.25 / REPEATS))
    assert found > 0.2


def test_the_number_of_samples():
    number = Simulation(4_000).samples_for(alone(0.2, 0.05, 400), 10, 0.8)
    below, above = (exact_power(0.2, 0.1, round(share * number)) for share in (0.9, 1.1))
    assert below < 0.8 < above
    assert Simulation(100).samples_for(alone(0.2, 0.0, 400), 0.001, 0.8) is None


def test_flips_are_counted_by_unit():
    first, second = (
        pd.DataFrame({"score": scores, "unit": ["a", "a", "b"]}, index=list("xyz"))
        for scores in ([1.0, 0.3, 0.0], [0.0, 0.3, 0.6])
    )
    assert Flips.of(first, second.iloc[::-1]).counts.tolist() == [[1, 0, 1], [0, 1, 0]]
    with pytest.raises(ValueError, match="same samples"):
        Flips.of(first, second.iloc[:2])
    for name in ("score", "unit"):
        for damaged in (first.drop(columns=name), first.assign(**{name: [*first[name][:2], None]})):
            with pytest.raises(ValueError, match=f"not every sample has a {name}"):
                Flips.of(damaged, second)
    with pytest.raises(ValueError, match="not every sample has a score"):
        Flips.of(first, second.drop(columns="score"))


QUICK = ["--repeats", "100", "--points", "20,50"]


def test_the_command(tmp_path, capsys):
    save_run(tmp_path, "none", None, draw(1, 0.9))
    save_run(tmp_path, "script", 64, draw(2, 0.8))
    save_run(tmp_path, "<i>mine & yours", 64, draw(3, 0.6))
    save_run(tmp_path, "trim", 64, draw(4, 0.6), limit=40)
    save_run(tmp_path, "graph", 64, draw(5, 0.6), weights="random")
    save_run(tmp_path, "query", 64, draw(6, 0.6), benchmark_settings={"protocol": "other"})
    save_run(tmp_path, "fastv", 64, draw(7, 0.6, count=30))
    assert main([str(tmp_path), *QUICK, "--format", "markdown"]) == 0
    shown = capsys.readouterr()
    assert "script at 64: 40 samples, 20 units" in shown.out
    assert "| 20 points | 50 points |" in shown.out
    assert "none" in shown.out
    assert r"\<i>mine" in shown.out
    for absent in ("trim", "graph", "query", "fastv"):  # left out, of another protocol, of other samples
        assert absent not in shown.out
    for why in ("it is partial", "its weights are random", "did not answer the same samples"):
        assert why in shown.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--points", "1,x"], "--points=x: expected a number above 0 and below 100"),
        (["--points", "nan"], "--points=nan: expected"),
        (["--power", "1"], "--power=1.0: expected a number above 0 and below 1"),
        (["--repeats", "5"], "--repeats=5: expected a whole number >= 100"),
        (["--reference", "mine"], "--reference=mine: expected a method with a finished run"),
        (["--pruner", "mine"], "--pruner=mine: expected one with a finished run"),
        ([], "expected a method with a finished run over a whole benchmark, and a run of another"),
    ],
)
def test_mistakes(words, message, tmp_path, capsys):
    save_run(tmp_path, "script", 64, draw(2, 0.8))
    assert main([str(tmp_path), *words]) == 2
    assert message in capsys.readouterr().err


def test_no_runs_to_simulate_from(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert (
        capsys.readouterr().err == f"error: no finished runs in {tmp_path}; python runners/run.py makes one\n"
    )
    save_run(tmp_path, "script", 64, draw(2, 0.8), limit=40)
    assert main([str(tmp_path)]) == 2
    assert f"no run over a whole benchmark in {tmp_path}: all 1 are left out" in capsys.readouterr().err
