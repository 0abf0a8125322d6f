"""Names are safe as folders, numbers fit into tables, and folders are text: else nothing is written."""

from __future__ import annotations

from functools import cache

import pytest
from hydra import compose, initialize_config_dir
from processes import last_line, run

from script_exp.analysis.cells import make_cells
from script_exp.config.command_line import CONF, check_arguments
from script_exp.config.multirun import compose_each
from script_exp.config.settings import RunSettings
from script_exp.errors import LARGEST, SettingError, UserError, check_name
from script_exp.results.read import load_runs

FEW = ["benchmark.scenes=1", "limit=2", "latency=off", "unpruned=off", "pruner=random", "budget=8"]
NAMES = "expected 1 to 64 letters"


@cache
def composed(overrides):
    return compose("config", list(overrides))


def settings(*overrides):
    """The settings of a run; Hydra composes each choice of groups once for all tests."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        (config,) = compose_each([overrides], lambda groups: composed(tuple(groups)))
    return RunSettings.from_config(config)


@pytest.mark.parametrize("key", ["model.name", "benchmark.name", "pruner.name"])
@pytest.mark.parametrize("name", ["a/b", "../../x", "..", ".hidden", "-x", "", "a b", "a\nb", "é", "n" * 65])
def test_a_name_that_is_no_folder(key, name):
    with pytest.raises(SettingError, match=NAMES) as error:
        settings(f'{key}="{name}"')
    assert error.value.key == key


@pytest.mark.parametrize("name", ["llava-v1.5-7b", "_own", "7b", "x" * 64, "a..b"])
def test_a_name_that_is_a_folder(name):
    check_name("model.name", name)


def test_what_to_write_for_a_name_of_the_hub():
    message = "for example liuhaotian_llava-v1.5-7b; the checkpoint's folder or hub id is model.path"
    with pytest.raises(SettingError, match=message):
        settings("model.name=liuhaotian/llava-v1.5-7b")


@pytest.mark.parametrize("value", ["7", "1.5", "true", "null"])
def test_a_name_that_yaml_does_not_take_for_text(value):
    with pytest.raises(SettingError, match=r"as text, in two kinds of quotes: pruner.name="):
        settings(f"pruner.name={value}")
    assert settings("model.name='7'").model.name == "7"


@pytest.mark.parametrize("name", ["replaced", "sweeps", "analysis", "shards"])
def test_a_name_that_outputs_has_for_something_else(name):
    for key in ("model.name", "benchmark.name"):
        with pytest.raises(SettingError, match="another name"):
            settings(f"{key}={name}")


def test_the_name_of_a_sweep():
    with pytest.raises(UserError, match="last folder of hydra.sweep.dir=a b: " + NAMES):
        check_arguments(["-m", "hydra.sweep.dir='sweeps/a b'"])
    check_arguments(["-m", "hydra.sweep.dir=sweeps/a-b"])


@pytest.mark.parametrize(
    "key", ["seed", "limit", "batch_size", "shards", "budget", "benchmark.scenes", "benchmark.scene_seed"]
)
def test_a_number_beyond_64_bits(key):
    from script_exp.cell.build import build_benchmark

    with pytest.raises(SettingError, match=str(2**63)) as error:
        build_benchmark(settings("pruner=random", f"{key}={2**63}").benchmark)
    assert error.value.key == key


@pytest.mark.parametrize(
    "change",
    ["benchmark.scenes=1000000000", "feature_cache_gib=inf", "pruner.graph.gamma=inf", "pruner.walk=nan",
     "pruner.query.sign=99999999999999999999"],
)  # fmt: skip
def test_other_numbers_that_no_result_can_hold(change):
    from script_exp.cell.build import build_benchmark

    with pytest.raises(SettingError, match=change.partition("=")[0].rpartition(".")[2]):
        build_benchmark(settings(change).benchmark)


def test_a_number_that_python_does_not_read():
    with pytest.raises(UserError, match="too many digits"):
        check_arguments(["seed=" + "9" * 5000])


def test_the_largest_seed_is_a_run_that_tables_show(tmp_path):
    for seed in (0, LARGEST):
        last_line(run(*FEW, f"seed={seed}", f"outputs={tmp_path}"))
    runs = load_runs(tmp_path)
    assert runs.problems == []
    assert sorted(runs.frame["seed"]) == [0, LARGEST]
    assert make_cells(runs.frame).frame["seeds"].tolist() == [2]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("null", "outputs=None: expected a folder, as text"),
        ("true", "outputs=True: expected a folder, as text; a folder of this name is outputs=./true"),
        ("${oc.env:NOT_SET_X}/o", "outputs: KeyError raised while resolving interpolation: "),
        ("''", "outputs=: expected a folder, as text"),
    ],
)
def test_a_folder_that_is_not_text(name, message):
    process = run(*FEW, f"outputs={name}")
    assert process.returncode == 2
    (line,) = process.stderr.splitlines()
    assert line.startswith(f"error: {message}")


@pytest.mark.parametrize("name", ["2024", "1.5", "2026_11"])
def test_a_folder_whose_name_is_a_number(tmp_path, monkeypatch, name):
    """The number is text in the command and in the cells of a sweep."""
    monkeypatch.chdir(tmp_path)
    check_arguments([f"outputs={name}", f"data={name}"])
    from script_exp.sweeps.experiment import composed_cells

    for _, config in composed_cells([f"outputs={name}", f"data={name}", "benchmark=gqa"]):
        assert (config.outputs, config.benchmark.data) == (name, f"{name}/gqa")
