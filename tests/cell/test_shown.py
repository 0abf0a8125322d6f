"""The table at the end of a run, cell by cell."""

from __future__ import annotations

import json

import pytest
from made_runs import save_run

from script_exp.cell.shown import print_result

MIB = 2**20


@pytest.fixture
def folder(tmp_path):
    return save_run(tmp_path, "script", 64, [1.0, 1.0, 0.0, 0.0, 0.0])


def contents(folder):
    """A made result, with the numbers that only real runs and this table have."""
    result = json.loads((folder / "result.json").read_text())
    result["tokens"]["layer_average"] += 0.5
    result["latency"]["peak_memory_bytes"] = 8 * MIB
    result["latency"]["unpruned"]["peak_memory_bytes"] = 24 * MIB
    return result


def printed(capsys):
    """The table's rows by their first cell, and all that comes after it."""
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.strip("│┃").split("│" if "│" in line else "┃")] for line in lines]
    return {first: rest for first, *rest in cells if rest}, lines[-4:]


def test_a_pruned_run_stands_beside_the_unpruned_one(folder, tmp_path, capsys):
    """Ratios above 1 are what pruning gains in cost; that of the accuracy is the share that is left."""
    unpruned = save_run(tmp_path, "none", None, [1.0, 1.0, 1.0, 1.0, 0.0])
    print_result(contents(folder), contents(unpruned), folder, is_compared=True)
    rows, last = printed(capsys)
    assert rows == {
        "": ["unpruned", "script @ 64", "ratio"],
        "accuracy, %": ["80.0 [75.0, 88.0]", "40.0 [35.0, 48.0]", "0.50x"],
        "visual tokens kept": ["576", "64", ""],
        "mean over LLM layers": ["576.5", "64.5", ""],
        "prefill, GFLOPs": ["3.304", "1.256", "2.63x"],  # 1 + 576 * 0.004, 1 + 64 * 0.004
        "LLM, visual tokens only": ["1.728", "0.192", "9.00x"],
        "KV cache, MiB": ["9.000", "1.000", ""],
        "LLM prefill, ms": ["20.0", "10.0", "2.00x"],
        "time to first token, ms": ["37.5", "27.5", "1.36x"],
        "peak memory, MiB": ["24.0", "8.0", ""],
    }
    assert last[1:3] == [
        f"run directory: {folder}", f"tables and figures of all runs: python analysis/make.py {tmp_path}",
    ]  # fmt: skip
    assert json.loads(last[3]) == {
        "run_dir": str(folder), "accuracy": 0.4, "tokens_kept": 64.0, "llm_prefill_ms": 10.0,
    }  # fmt: skip


def test_without_an_unpruned_run_its_column_has_the_times_alone(folder, capsys):
    """The unpruned model is timed within every run."""
    print_result(contents(folder), None, folder, is_compared=True)
    rows, last = printed(capsys)
    assert rows["accuracy, %"] == ["-", "40.0 [35.0, 48.0]", ""]
    assert rows["prefill, GFLOPs"] == ["-", "1.256", ""]
    assert rows["LLM prefill, ms"] == ["20.0", "10.0", "2.00x"]
    assert last[0] == "No unpruned run to compare with; run pruner=none to get one."


def test_what_was_not_asked_for_is_left_out(tmp_path, capsys):
    """Neither times with latency=off, nor accuracy of random weights, nor a column of no unpruned run."""
    times = {"LLM prefill, ms", "time to first token, ms", "peak memory, MiB"}
    costs = {
        "", "visual tokens kept", "mean over LLM layers", "prefill, GFLOPs", "LLM, visual tokens only",
        "KV cache, MiB",
    }  # fmt: skip
    off = contents_of(save_run(tmp_path, "script", 64, [1.0, 0.0], latency=None))
    print_result(off, None, tmp_path / "a" / "b" / "c", is_compared=False)
    rows, _ = printed(capsys)
    assert set(rows) == costs | {"accuracy, %"}
    assert rows[""] == ["script @ 64"]
    unpruned = contents_of(save_run(tmp_path, "none", None, [1.0, 0.0], latency=None))
    print_result(off, unpruned, tmp_path / "a" / "b" / "c", is_compared=True)
    rows, _ = printed(capsys)
    assert set(rows) == costs | {"accuracy, %"}
    assert rows[""] == ["unpruned", "script @ 64", "ratio"]
    random = contents_of(save_run(tmp_path, "script", 32, [1.0, 0.0], weights="random"))
    random["latency"]["peak_memory_bytes"] = random["latency"]["unpruned"]["peak_memory_bytes"] = None
    print_result(random, None, tmp_path / "a" / "b" / "c", is_compared=False)
    rows, _ = printed(capsys)
    assert set(rows) == costs | times - {"peak memory, MiB"}  # a CPU has none
    assert rows[""] == ["unpruned", "script @ 32", "ratio"]
    print_result(unpruned, None, tmp_path / "a" / "b" / "c", is_compared=False)
    rows, _ = printed(capsys)
    assert rows[""] == ["none"]


def contents_of(folder):
    return json.loads((folder / "result.json").read_text())
