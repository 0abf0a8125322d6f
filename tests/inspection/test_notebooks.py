"""The notebooks run from top to bottom on runs of the tiny model, and are committed without outputs."""

from __future__ import annotations

import os
import shutil

import nbformat
import pytest
from made_runs import save_run
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from processes import ROOT, run

NOTEBOOKS = sorted((ROOT / "analysis" / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with runs where the notebooks look for them."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "analysis" / "notebooks").mkdir(parents=True)
    shared = [
        f"outputs={folder / 'outputs'}",
        "benchmark.scenes=6",
        "limit=12",
        "latency=off",
        "record_kept=true",
    ]
    for cells in (
        ["pruner=none,random,graph,query,script", "budget=64,32"],
        ["pruner=script_released", "pruner.version=head,first,build,plot"],
    ):
        process = run("-m", *cells, *shared)
        assert process.returncode == 0, process.stderr
    return folder


@pytest.fixture(scope="module")
def executed(project):
    """Every notebook with its outputs, by number."""
    return {path.name[:2]: execute(path, project) for path in NOTEBOOKS}


def execute(path, project):
    """A notebook, with its outputs, run in ``project``."""
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    book = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(project / "analysis" / "notebooks")}}
    NotebookClient(book, timeout=300, kernel_name="python3", resources=place).execute(
        env={**os.environ, "PYTHONPATH": paths}
    )
    return book


def outputs_of(book, kind):
    """All outputs of one MIME type; ``text/plain`` includes what was printed."""
    found = []
    for cell in book.cells:
        for output in cell.get("outputs", []):
            if output["output_type"] == "stream" and kind == "text/plain":
                found.append(output["text"])
            elif kind in output.get("data", {}):
                found.append(output["data"][kind])
    return found


def test_there_are_six_in_order():
    assert [path.name[:2] for path in NOTEBOOKS] == [f"{number:02d}" for number in range(1, 7)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_outputs_are_committed(path):
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert code
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


@pytest.mark.slow
def test_they_run_and_say_what_they_promise(executed):
    tables = {number: "".join(outputs_of(book, "text/html")) for number, book in executed.items()}
    printed = {number: "".join(outputs_of(book, "text/plain")) for number, book in executed.items()}
    pictures = {number: len(outputs_of(book, "image/png")) for number, book in executed.items()}
    assert "script_released" in tables["01"]
    assert "only the first 12 samples" in tables["01"]
    assert "Script's modules on shapes" in " ".join(tables["02"].replace("&#x27;", "'").split())
    assert "budget 32" in printed["02"]
    assert "prefill_tflops" in tables["03"]
    assert "left out:" not in "".join(printed.values())
    assert pictures["01"] == 0
    assert pictures["02"] == 2
    assert pictures["03"] == 2
    assert 2 <= pictures["04"] <= 4
    assert pictures["05"] == 2
    assert pictures["06"] == 1


@pytest.mark.slow
def test_the_released_graph_has_no_effect_in_the_notebook(executed):
    effect = next(
        table for table in outputs_of(executed["06"], "text/html") if ">loop<" in table and ">graph<" in table
    )
    numbers = [line.strip() for line in effect.splitlines() if line.strip().startswith("<td>")]
    assert len(numbers) == 6
    assert numbers[1::2] == ["<td>100.0</td>"] * 3  # all that head keeps is in the loop's set: min, mean, max


@pytest.mark.slow
def test_they_choose_by_name_among_several_runs(project, tmp_path):
    """Runs of another benchmark and model come first in every order, and cannot be opened."""
    (tmp_path / "analysis" / "notebooks").mkdir(parents=True)
    shutil.copytree(project / "outputs", tmp_path / "outputs")
    for benchmark, model in (("gqa", "tiny"), ("shapes", "another")):
        for pruner, budget in (("none", None), ("graph", 8), ("query", 8), ("script", 8)):
            save_run(tmp_path / "outputs", pruner, budget, [1.0, 0.0], benchmark=benchmark, model=model)
    by_number = {path.name[:2]: path for path in NOTEBOOKS}
    kept = execute(by_number["04"], tmp_path)
    assert len(outputs_of(kept, "image/png")) >= 2
    assert "[]" in outputs_of(kept, "text/plain")  # no run was left out
    released = execute(by_number["06"], tmp_path)
    costs = outputs_of(released, "text/html")[-1]
    assert "shapes" in costs
    assert "gqa" not in costs


@pytest.mark.slow
def test_a_benchmark_without_runs_is_named(tmp_path):
    (tmp_path / "analysis" / "notebooks").mkdir(parents=True)
    save_run(tmp_path / "outputs", "script", 64, [1.0, 0.0], benchmark="gqa")
    for path in NOTEBOOKS[3:]:
        with pytest.raises(
            CellExecutionError, match="benchmark=shapes: expected one with a finished run: gqa"
        ):
            execute(path, tmp_path)


@pytest.mark.parametrize("path", NOTEBOOKS[3:], ids=lambda path: path.stem)
def test_what_is_chosen_is_said_at_the_top(path):
    code = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert 'MODEL, BENCHMARK = "tiny", "shapes"' in code[0].splitlines()
