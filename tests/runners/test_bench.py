"""The speed runner, called as by a user."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from families import CONFIGS
from PIL import Image
from processes import last_line, run
from texts import check_texts

from script_exp.analysis.figures.style import style
from script_exp.speed.report import bench_figure

QUICK = ["bench.samples=1", "bench.repeats=1", "bench.warm_up=0", "bench.decode_steps=1"]


def bench(*arguments):
    return run(*arguments, script="runners/bench.py")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    process = bench(
        "pruner=fastv,script", "budget=64,0.05", *QUICK, f"outputs={tmp_path_factory.mktemp('o')}"
    )
    line = last_line(process)
    return process, json.loads(Path(line["bench"]).read_text()), Path(line["figure"])


def test_every_pruner_at_every_budget_beside_the_unpruned_model(measured):
    process, result, figure = measured
    names = ["unpruned", "fastv @ 64", "fastv @ 0.05", "script @ 64", "script @ 0.05"]
    assert [method["method"] for method in result["methods"]] == names
    assert all(name in process.stdout for name in names)
    assert result["provenance"]["device"] in process.stdout
    assert [method["tokens"]["kept"] for method in result["methods"]] == [576, 64, 29, 64, 29]
    with Image.open(figure) as image:
        image.verify()
    with style():
        check_texts(bench_figure(result))


def test_ratios_are_those_of_the_numbers_beside_them(measured):
    _, result, _ = measured
    unpruned = result["methods"][0]
    ceiling = result["matmul_ceiling_flops_per_s"]
    for method in result["methods"]:
        latency, flops = method["latency"], method["flops"]
        assert method["ttft_speedup"] == unpruned["latency"]["ttft_ms"] / latency["ttft_ms"]
        assert method["llm_prefill_speedup"] == (
            unpruned["latency"]["llm_prefill_ms"] / latency["llm_prefill_ms"]
        )
        assert method["flops_ratio"] == unpruned["flops"]["prefill_total"] / flops["prefill_total"]
        assert method["kv_cache_bytes"] == latency["kv_cache_bytes_held"]
        done = flops["stages"]["llm"] + flops["stages"]["lm_head"]
        seconds = latency["stages"]["llm"]["median"] / 1e3
        assert method["share_of_ceiling"]["llm"] == pytest.approx(done / seconds / ceiling)


@pytest.mark.parametrize(
    ("size", "crops", "visual", "separators"),
    [
        ([336, 336], 5, 720, 24),  # 2 x 2 crops and the base one; every row of patches ends with a newline
        ([300, 100], 3, 144 + 8 * 24, 8),  # 1 x 2 crops, of whose 12 rows of patches 4 are padding
    ],
)
def test_images_have_the_size_that_is_asked_for(size, crops, visual, separators, tmp_path):
    CONFIGS["llava_next"]().save_pretrained(tmp_path / "model")
    process = bench(
        f"model.path={tmp_path / 'model'}", "model.weights=random", "pruner=random", "budget=64", *QUICK,
        f"bench.image_size={size}", f"outputs={tmp_path / 'outputs'}",
    )  # fmt: skip
    unpruned, pruned = json.loads(Path(last_line(process)["bench"]).read_text())["methods"]
    assert unpruned["tokens"]["crops"] == pruned["tokens"]["crops"] == crops
    assert unpruned["tokens"]["visual"] == pruned["tokens"]["visual"] == visual
    assert (unpruned["tokens"]["kept"], unpruned["tokens"]["separators"]) == (visual, separators)
    assert pruned["tokens"]["kept"] <= 64 * crops  # what falls on padding is lost


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pruner=scirpt,fastv"], "did you mean script"),
        (["pruner=none"], "pruner=none: expected at least one method"),
        (["budget=64,600"], "budget=600: expected at most 576"),
        (["pruner=fastv,script", "pruner.layer=9"], "pruner.layer"),
        (["bench.repeats=0"], "bench.repeats=0: expected a whole number >= 1"),
        (["bench.image_size=[3]"], "bench.image_size"),
        (["model.compile=fast"], "model.compile=fast: expected one of off, default, reduce-overhead"),
        (
            ["model.compile=default", "pruner=script,fastv"],
            "model.compile=default: expected off: this pruner",
        ),
        (["-m", "pruner=script,fastv"], "expected lists without it"),
    ],
)
def test_errors_come_before_anything_is_loaded(arguments, message, tmp_path):
    process = bench(*arguments, f"outputs={tmp_path}")
    assert process.returncode == 2, process.stderr
    assert message in process.stderr
    assert "Traceback" not in process.stderr
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(("model", "family"), [("qwen3_vl_8b", "qwen3_vl"), ("internvl3_8b", "internvl")])
def test_a_large_model_with_fewer_and_narrower_layers(model, family, tmp_path):
    """Where full size does not fit, a folder with a smaller config.json stands for it."""
    CONFIGS[family]().save_pretrained(tmp_path / "smaller")
    given = [f"model={model}", "model.weights=random", "dtype=float32", f"outputs={tmp_path}"]
    process = bench(*given, f"model.path={tmp_path / 'smaller'}", "pruner=script", "budget=0.2", *QUICK)
    unpruned, pruned = json.loads(Path(last_line(process)["bench"]).read_text())["methods"]
    visual, crops = unpruned["tokens"]["visual"], unpruned["tokens"]["crops"]
    assert pruned["tokens"]["kept"] == crops * round(0.2 * visual / crops)
    for method in (unpruned, pruned):
        assert method["kv_cache_bytes"] == method["latency"]["kv_cache_bytes_held"]
        assert all(stage["median"] > 0 for stage in method["latency"]["stages"].values())
    assert pruned["latency"]["stages"].keys() - unpruned["latency"]["stages"].keys() >= {"pruner"}
