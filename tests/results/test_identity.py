"""The identity of a run: it depends on every setting that can change a result, and on no other."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from checkpoints import save_clip, save_llava
from gqa_data import write_llava
from hydra import compose, initialize_config_dir

from script_exp.cell.prepared import RunCell
from script_exp.config.command_line import CONF
from script_exp.config.settings import RunSettings

NEXT = "model=llava_next_7b model.weights=random"  # its prompts have newlines; nothing is loaded

# What a cell has already, and the one thing that is changed.
ANOTHER_RUN = [
    ("", "budget=32"),
    ("pruner=random", "seed=1"),
    ("", "limit=4"),
    ("", "batch_size=5"),  # batches round differently
    ("", "attention=eager"),
    ("", "dtype=bfloat16"),
    ("", "pruner=query"),
    ("", "pruner.graph.threshold=0.3"),
    ("", "pruner.query.sign=-1"),
    ("", "query_text=released"),
    ("pruner=trim", "query_text=released"),
    ("pruner=script_released", "query_text=bare"),
    ("pruner=trim", "pruner.aggregate=false"),
    ("pruner=fastv", "pruner.layer=2"),
    ("pruner=fastv", "model.in_llm.layer=2"),
    ("pruner=vscan", "pruner.layer=0.9"),
    ("", "benchmark.scene_seed=3"),
    ("", "benchmark.scenes=81"),
    ("", "model.name=mine"),
    ("", "model.path={llava}"),
    ("model.path={llava}", "model.path={other}"),
    ("model.path={llava}", "model.weights=random"),
    ("", "model.clip={clip}"),
    ("", "model.adapter=script_exp.models.families.llava.LlavaAdapter"),
    ("", "model.compile=default"),
    ("", "model.conversation=vicuna_v1"),
    ("", "model.relevance_sign=-1"),
    ("pruner=random", "model.positions=preserved"),
    (f"{NEXT} pruner=random", "model.newline=drop"),
]
SAME_RUN = [
    ("", "tracker=wandb"),
    ("", "latency=off"),
    ("", "unpruned=off"),
    ("", "outputs=elsewhere"),
    ("", "data=elsewhere"),
    ("", "shards=2 shard=1"),
    ("", "feature_cache_gib=1"),
    ("", "record_kept=true"),
    ("", "force=true"),
    # What plays no part in the method or the model:
    ("pruner=none", "budget=32"),
    ("", "seed=1"),  # nothing is drawn
    ("pruner=random", "model.relevance_sign=-1"),
    ("pruner=random", "query_text=released"),
    ("", "query_text=bare"),
    ("pruner=script_released", "query_text=released"),
    ("pruner=none", "model.positions=preserved"),
    ("pruner=fastv", "model.positions=preserved"),
    ("", "model.newline=drop"),
    (f"{NEXT} pruner=none", "model.newline=drop"),
    ("", "model.in_llm.layer=2"),
    ("pruner=random", "model.clip={clip}"),
]


@pytest.fixture(autouse=True, scope="module")
def conf():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory, llava_folder):
    """Checkpoints that the settings above name."""
    made = tmp_path_factory.mktemp("checkpoints")
    return {
        "llava": llava_folder,
        "other": save_llava(made / "other", seed=1),
        "clip": save_clip(made / "clip", width=128, joint=24),  # fits the embedded model
    }


def cell(overrides):
    config = compose("config", ["device=cpu", *overrides.split()])
    return RunCell.prepare(RunSettings.from_config(config))


@pytest.mark.parametrize(("given", "change"), ANOTHER_RUN)
def test_what_can_change_a_result_makes_another_run(folders, given, change):
    before, after = (cell(text.format(**folders)) for text in (given, f"{given} {change}"))
    assert before.identity != after.identity


@pytest.mark.parametrize(("given", "change"), SAME_RUN)
def test_what_cannot_change_a_result_leaves_the_run(folders, given, change):
    before, after = (cell(text.format(**folders)) for text in (given, f"{given} {change}"))
    assert before.identity == after.identity


def test_the_tables_name_every_key():
    config = compose("config")
    here = {"model.placement", "model.quantization"}  # need more than a CPU: see the next test
    keys = {*config} - {"device"} | {f"model.{key}" for key in config.model} - here
    changed = {word.partition("=")[0] for _, change in ANOTHER_RUN + SAME_RUN for word in change.split()}
    parents = {".".join(key.split(".")[:depth]) for key in changed for depth in (1, 2)}
    assert keys - parents == set()


def test_the_kind_of_device_makes_another_run_and_its_number_does_not():
    on_cpu = cell("")
    first, second = (replace(on_cpu, device=torch.device("cuda", number)) for number in (0, 1))
    model = replace(on_cpu.settings.model, placement="auto")
    spread = replace(first, settings=replace(on_cpu.settings, model=model))
    eight = replace(on_cpu.settings.model, quantization="int8")
    assert replace(on_cpu, settings=replace(on_cpu.settings, model=eight)).identity != on_cpu.identity
    assert on_cpu.identity != first.identity == second.identity == spread.identity


def test_samples_make_another_run_and_their_place_does_not(tmp_path):
    places = [write_llava(tmp_path / name) for name in ("here", "there")]
    here, there = (f"benchmark=gqa benchmark.check_count=false benchmark.data={place}" for place in places)
    identity = cell(here).identity
    assert identity == cell(there).identity
    lmms = cell(f"{here} benchmark.protocol=lmms")
    assert (
        identity
        != lmms.identity
        == cell(f"{here} benchmark.protocol=lmms benchmark.protocol_version=0.7.3").identity
    )
    assert lmms.identified_by["benchmark"]["protocol_version"] == "0.7.3"
    assert (
        "protocol_version" not in cell(here).identified_by["benchmark"]
    )  # runs under llava stay as they are
    for file in [*places[1].glob("*.jsonl"), *places[1].glob("data/*.json")]:
        file.write_text(file.read_text().replace("overcast", "cloudy"))
    assert identity != cell(there).identity


def test_neither_the_judge_nor_a_check_of_the_samples_is_in_it():
    """Of a benchmark whose data is not here."""

    def relevant(*overrides):
        return RunSettings.from_config(compose("config", ["benchmark=mmvet", *overrides])).result_relevant()

    assert relevant() == relevant("benchmark.judge.model=mine", "benchmark.check_count=false")
    assert relevant() != relevant("benchmark.protocol=lmms")
