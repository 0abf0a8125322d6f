"""Every figure is drawn, and shows the numbers of the runs."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from made_runs import STAGES, draw, save_grid, save_run
from matplotlib.lines import Line2D
from PIL import Image
from processes import run
from texts import check_texts

from script_exp.analysis.cells import for_figures, make_cells
from script_exp.analysis.figures import figures, write_figures
from script_exp.analysis.figures.cost import pareto_front
from script_exp.analysis.figures.overlap import overlap
from script_exp.analysis.figures.style import FORMATS, KNOWN, Looks, style
from script_exp.config.command_line import CONF
from script_exp.results.read import load_runs

BENCHMARKS = ("gqa", "pope", "textvqa")


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """Everything that a figure can show: three benchmarks, a sweep of one setting, kept tokens."""
    outputs = tmp_path_factory.mktemp("grid")
    save_grid(outputs, BENCHMARKS)
    for threshold in (0.1, 0.2, 0.3, 0.5):
        save_run(
            outputs, "graph", 64, draw(int(10 * threshold), 0.5 + threshold / 2), benchmark="gqa",
            variant=f"threshold={threshold}", settings={"threshold": threshold, "gamma": 1.0},
        )  # fmt: skip
    kept = {"query": [[0, 1, 2, 3]], "script": [[0, 1, 8, 9]], "trim": [[4, 5, 6, 7]]}
    for pruner, tokens in kept.items():
        save_run(outputs, pruner, 4, draw(2, 0.5), benchmark="textvqa", kept=[tokens] * 40)
    return make_cells(load_runs(outputs).frame)


@pytest.fixture(scope="module")
def drawn(cells):
    with style():
        return {name: figure for _, name, figure in figures(cells)}


def lines_of(axes):
    """By label what was plotted; of an error bar the points."""
    handles, labels = axes.get_legend_handles_labels()
    lines = {
        label: getattr(handle, "lines", [handle])[0] for handle, label in zip(handles, labels, strict=True)
    }
    return {
        label: (np.asarray(line.get_xdata()), np.asarray(line.get_ydata())) for label, line in lines.items()
    }


def test_ticks_are_the_budgets_of_methods_that_keep_as_many_in_every_layer(tmp_path):
    save_grid(tmp_path)
    save_run(tmp_path, "fastv", 64, draw(1, 0.5), tokens={"layer_average": 192.0})
    drawn = {name: figure for _, name, figure in figures(make_cells(load_runs(tmp_path).frame))}
    axes = drawn["accuracy_by_budget"].axes[0]
    assert list(axes.get_xticks()) == [32, 64]
    assert lines_of(axes)["fastv"][0] == pytest.approx([192], rel=0.1)  # shifted a little beside the others


def test_all_kinds_are_there(drawn):
    assert set(drawn) == {
        "accuracy_by_budget", "accuracy_by_flops", "accuracy_by_prefill_time", "radar",
        "sweep_graph_threshold", "overlap-textvqa", *(f"latency_by_stage-{name}" for name in BENCHMARKS),
    }  # fmt: skip


def test_accuracy_by_budget_shows_the_cells(drawn, cells):
    for axes, benchmark in zip(drawn["accuracy_by_budget"].axes, BENCHMARKS, strict=True):
        assert axes.get_title() == benchmark
        own = cells.frame[cells.frame["column"] == benchmark]
        for label, (x, y) in lines_of(axes).items():
            if label == "unpruned":
                assert list(y) == [own[own["label"] == "none"]["accuracy"].item()] * 2
                continue
            points = own[own["label"] == label].sort_values("kept")
            assert list(y) == list(points["accuracy"])
            assert x == pytest.approx(points["kept"].to_numpy(), rel=0.08)  # set apart to be seen
    labels = {label for axes in drawn["accuracy_by_budget"].axes for label in lines_of(axes)}
    assert labels == {"unpruned", "random", "graph", "query", "script", "trim"}  # a sweep has its own figure


def test_intervals_reach_where_the_cells_say(drawn, cells):
    axes = drawn["accuracy_by_budget"].axes[0]
    (bars,) = [one for one in axes.containers if one.get_label() == "script"]
    segments = bars.lines[2][0].get_segments()
    points = cells.frame[(cells.frame["column"] == "gqa") & (cells.frame["label"] == "script")]
    ends = [(segment[0][1], segment[1][1]) for segment in segments]
    expected = list(points.sort_values("kept")[["low", "high"]].itertuples(index=False, name=None))
    assert np.allclose(ends, expected)


@pytest.mark.parametrize(
    ("name", "column", "factor"),
    [("accuracy_by_flops", "prefill_tflops", 1000), ("accuracy_by_prefill_time", "percent", 1)],
)
def test_costs_and_their_front(drawn, cells, name, column, factor):
    """Times are paired: in percent of the unpruned model's, measured in turn with each method."""
    paired = 100 / cells.frame["prefill_speedup"].where(cells.frame["budget"].notna(), 1)
    for axes, benchmark in zip(drawn[name].axes, BENCHMARKS, strict=True):
        own = cells.frame.assign(percent=paired)
        own = own[(own["column"] == benchmark) & ~own["label"].str.contains("=")]
        lines = lines_of(axes)
        points = own[own["label"] == "script"].sort_values("budget")
        assert list(lines["script"][0]) == pytest.approx(list(factor * points[column]))
        assert list(lines["script"][1]) == list(points["accuracy"])
        best = {
            (factor * one[column], one["accuracy"])
            for _, one in own.iterrows()
            if not any(
                other["accuracy"] >= one["accuracy"] and other[column] <= one[column]
                and (other["accuracy"], other[column]) != (one["accuracy"], one[column])
                for _, other in own.iterrows()
            )
        }  # fmt: skip
        front = list(zip(*lines["Pareto front"], strict=True))[:-1]  # the last point only lengthens the line
        assert np.allclose(sorted(front), sorted(best))


def test_pareto_front_by_hand():
    cost, accuracy = pd.Series([3, 1, 2, 2, 5]), pd.Series([9, 4, 7, 8, 9])
    assert pareto_front(cost, accuracy) == [1, 3, 0]


def test_latency_bars_add_up_to_the_stages(drawn, cells):
    figure = drawn["latency_by_stage-gqa"]
    axes = figure.axes[0]
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    assert names[0] == "unpruned"
    bars = {one.get_label(): [bar.get_width() for bar in one] for one in axes.containers}
    assert list(bars) == [name.replace("_", " ") for name in STAGES]
    script = names.index("script")
    cell = cells.frame.query("column == 'gqa' and label == 'script' and budget == 64").iloc[0]
    whole = cell["unpruned_ttft_ms"]  # measured in turn with this run
    assert bars["pruner"][script] == pytest.approx(100 * STAGES["pruner"] / whole)
    assert bars["llm"][script] == pytest.approx(100 * (cell["llm_prefill_ms"] - STAGES["pruner"]) / whole)
    ends = axes.containers[-1][script]
    assert ends.get_x() + ends.get_width() == pytest.approx(100 / cell["ttft_speedup"])


def test_radar_shows_retained_shares(drawn, cells):
    axes = drawn["radar"].axes[0]
    values = lines_of(axes)["script"][1]
    points = cells.frame.query("label == 'script' and budget == 64").set_index("column")["retained"]
    assert list(values) == pytest.approx([points[name] for name in (*BENCHMARKS, BENCHMARKS[0])])


def test_a_sweep_of_one_setting(drawn, cells):
    (axes,) = drawn["sweep_graph_threshold"].axes
    x, y = lines_of(axes)["64 tokens"]
    assert list(x) == [0.1, 0.2, 0.3, 0.5]
    points = cells.frame.set_index("label")["accuracy"]
    assert list(y) == [points[f"graph (threshold={value})"] for value in x]
    assert axes.get_xlabel() == "graph: threshold"


def test_overlap_by_hand(cells):
    own = cells.frame.query("column == 'textvqa' and budget == 4")
    shares = overlap(own, cells)
    assert list(shares) == ["trim", "query", "script"]
    assert (np.diag(shares) == 1).all()
    assert (shares.loc["query", "script"], shares.loc["script", "query"]) == (0.5, 0.5)
    assert shares.loc["trim", "script"] == 0
    assert overlap(cells.frame.query("column == 'gqa' and budget == 64"), cells).empty


def test_files_are_written_and_hold_something(cells, tmp_path):
    written, missing = write_figures(cells, tmp_path)
    assert missing == []
    for name in written:
        for ending in FORMATS:
            assert (tmp_path / f"{name}.{ending}").stat().st_size > 5_000
    for name in written:
        with Image.open(tmp_path / f"{name}.png") as image:
            pixels = np.asarray(image.convert("L"))
        ink = pixels < 128
        assert 0.002 < ink.mean() < 0.6
        assert not ink[[0, -1]].any(), name  # nothing is cut off at the edges
        assert not ink[:, [0, -1]].any(), name


def test_the_same_runs_give_the_same_files(tmp_path):
    save_grid(tmp_path / "runs", ("gqa",), budgets=(64,))
    cells = make_cells(load_runs(tmp_path / "runs").frame)
    for place in ("a", "b"):
        write_figures(cells, tmp_path / place)
    for file in sorted((tmp_path / "a").iterdir()):
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name


def test_what_is_missing_is_said(tmp_path):
    save_run(tmp_path / "runs", "none", None, [1.0, 0.0], latency=None)
    cells = make_cells(load_runs(tmp_path / "runs").frame)
    written, missing = write_figures(cells, tmp_path / "figures")
    assert written == []
    assert len(missing) == 7
    assert "latency_by_stage needs pruned runs with latency=on" in missing


def test_setups_have_figures_of_their_own(tmp_path):
    save_grid(tmp_path, ("gqa",), budgets=(64,))
    save_grid(tmp_path / "part", ("gqa",), budgets=(64,), limit=40, baseline="part")
    cells = make_cells(load_runs(tmp_path).frame)
    names = {name for _, name, _ in figures(cells)}
    assert {"accuracy_by_budget-all", "accuracy_by_budget-first_40"} <= names


def test_labels_of_figures_are_short_where_they_can_be(tmp_path):
    save_run(tmp_path, "none", None, [1.0])
    save_run(tmp_path, "fastv", 64, [1.0], variant="budget_as=after, layer=1")
    save_run(tmp_path, "script", 64, [1.0])
    save_run(tmp_path, "script", 64, [1.0], variant="walk=3")
    frame = make_cells(load_runs(tmp_path).frame).frame
    assert list(for_figures(frame)["label"]) == ["unpruned", "fastv", "script", "script (walk=3)"]
    assert math.isnan(for_figures(frame)["budget"].iloc[0])


def test_a_slower_machine_does_not_make_a_method_slower(tmp_path):
    """The pruned run was made while the machine was three times slower than for the unpruned one."""
    save_run(tmp_path, "none", None, [1.0, 0.0], latency=6.0)
    save_run(tmp_path, "script", 64, [1.0, 0.0], latency=10.0)  # 20 ms unpruned, in turn with it
    drawn = {name: figure for _, name, figure in figures(make_cells(load_runs(tmp_path).frame))}
    lines = lines_of(drawn["accuracy_by_prefill_time"].axes[0])
    assert list(lines["script"][0]) == [50]
    assert list(lines["unpruned"][0]) == [100]
    ends = [bar.get_x() + bar.get_width() for bar in drawn["latency_by_stage-shapes"].axes[0].containers[-1]]
    assert ends[1] == pytest.approx(100 * 27.5 / 37.5)
    assert ends[1] < ends[0]


def labeled(*pruners):
    return pd.DataFrame({"label": pruners, "pruner": pruners})


MADE_UP = [f"method_{letter}" for letter in "abcdefghijklmnopqrstuvwxy"]


def test_a_method_looks_the_same_whatever_was_run_beside_it():
    names = ("random", "graph", "query", "script", "trim", "mine")
    many = Looks(labeled(*names))
    for name in names:
        assert Looks(labeled(name)).of(name) == many.of(name)
    looks = [many.of(name) for name in names]
    assert len({look["marker"] for look in looks}) == len({look["color"] for look in looks}) == 6
    assert Looks(labeled(*MADE_UP[:3])).of("method_a") == Looks(labeled("method_a", "script")).of("method_a")


def test_every_method_of_the_package_has_a_look_of_its_own():
    """So that it never depends on what else was run; its line is in figures/style.py."""
    files = (CONF / "pruner").glob("*.yaml")
    methods = sorted(file.stem for file in files if file.stem != "composed")  # it is named by its parts
    assert sorted(set(methods) - set(KNOWN)) == []
    assert len({KNOWN[name] for name in methods}) == len(methods)


def test_twenty_five_methods_can_be_told_apart():
    names = [*MADE_UP, *KNOWN]
    looks = Looks(labeled(*names), colored=names)
    assert len({(look["color"], look["marker"]) for look in map(looks.of, names)}) == len(names)


def test_one_color_and_one_marker_per_method_in_all_figures(drawn):
    found: dict[str, set[tuple[str, str]]] = {}
    for name, figure in drawn.items():
        if name.startswith("sweep"):  # its lines are budgets
            continue
        for axes in figure.axes:
            handles, labels = axes.get_legend_handles_labels()
            for handle, label in zip(handles, labels, strict=True):
                line = getattr(handle, "lines", [handle])[0]
                if isinstance(line, Line2D) and label not in ("unpruned", "Pareto front"):
                    found.setdefault(label, set()).add((line.get_color(), line.get_marker()))
    assert set(found) == {"random", "trim", "graph", "query", "script"}
    assert [label for label, looks in found.items() if len(looks) > 1] == []


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Script and its modules among twenty-five others."""
    outputs = tmp_path_factory.mktemp("many")
    save_grid(outputs, ("gqa",))
    for index, name in enumerate(MADE_UP):
        save_run(outputs, name, 64, draw(index, 0.6), benchmark="gqa", kept=[[[index, 99]]] * 40)
    return make_cells(load_runs(outputs).frame)


def test_of_many_methods_the_usual_ones_are_in_color(many):
    with style():
        drawn = {name: figure for _, name, figure in figures(many)}
    for name in ("accuracy_by_budget", "accuracy_by_flops", "accuracy_by_prefill_time"):
        check_texts(drawn[name], name)
        (keys,) = drawn[name].legends
        said = [text.get_text() for text in keys.get_texts()]
        assert said[-5:] == ["random", "graph", "query", "script", "other methods"]
        lines = [line for line in drawn[name].axes[0].lines if line.get_label() == "other methods"]
        assert len(lines) == 26  # trim, too
        assert {(line.get_color(), line.get_marker()) for line in lines} == {("#d2d2d2", ".")}
    bars = [tick.get_text() for tick in drawn["latency_by_stage-gqa"].axes[0].get_yticklabels()]
    assert bars == ["unpruned", "random", "graph", "query", "script"]


def test_any_methods_can_be_in_color(many):
    with style():
        few = {name: figure for _, name, figure in figures(many, ["script", "method_c", "method_d"])}
        all_of_them = {name: figure for _, name, figure in figures(many, {*many.frame["pruner"]})}
    (keys,) = few["accuracy_by_budget"].legends
    assert [text.get_text() for text in keys.get_texts()] == [
        "unpruned", "method_c", "method_d", "script", "other methods",
    ]  # fmt: skip
    rows = [tick.get_text() for tick in few["overlap-gqa"].axes[0].get_yticklabels()]
    assert rows == ["method_c", "method_d"]  # script recorded nothing
    for name in ("accuracy_by_budget", "overlap-gqa"):
        check_texts(all_of_them[name], name)


def test_the_commands_take_the_methods_in_color(tmp_path):
    save_grid(tmp_path, ("gqa",), budgets=(64,))
    process = run(tmp_path, "--highlight", "script,trim", script="analysis/report.py")
    assert process.returncode == 0, process.stderr
    page = (tmp_path / "analysis" / "report.html").read_text()
    assert "Shown: Pareto front, unpruned, trim, script, other methods." in page
    wrong = run(tmp_path, "--highlight", "script,scirpt", script="analysis/make.py")
    assert wrong.returncode == 2
    assert wrong.stderr == (
        "error: --highlight=scirpt: expected one with a finished run: "
        "none, random, trim, graph, query, script\n"
    )


def test_text_is_inside_the_canvas_and_apart(drawn):
    for name, figure in drawn.items():
        check_texts(figure, name)


def test_long_names_stay_inside(tmp_path):
    """Of benchmarks with their protocols, devices and methods with their settings."""
    device = "Intel(R) Xeon(R) Platinum 8480C and NVIDIA H100 80GB HBM3"
    for benchmark in ("mmbench_cn", "longvideobench", "scienceqa"):
        save_run(tmp_path, "none", None, draw(0, 0.9), benchmark=benchmark, device=device)
        for protocol in ("llava", "lmms"):
            settings = {
                "protocol": protocol,
                "protocol_version": "0.3.0",
                "on_error": "skip",
                "ocr": protocol,
            }
            for version in ("head", "plot"):
                save_run(
                    tmp_path, "script_released", 64, draw(1, 0.7), benchmark=benchmark, device=device,
                    benchmark_settings=settings, kept=[[[0, 1]]] * 40,
                    variant=f"version={version}, denominators=plain, segments=all_of_them, walk=3",
                )  # fmt: skip
    with style():
        drawn = {name: figure for _, name, figure in figures(make_cells(load_runs(tmp_path).frame))}
    assert {name.split("-")[0] for name in drawn} >= {
        "accuracy_by_budget", "accuracy_by_prefill_time", "latency_by_stage", "overlap",
    }  # fmt: skip
    for name in ("accuracy_by_budget", "accuracy_by_prefill_time"):
        check_texts(drawn[name], name)
    for start in ("latency_by_stage", "overlap"):
        name = next(name for name in drawn if name.startswith(start))
        check_texts(drawn[name], name)


def test_panels_of_the_overlap_are_equal(tmp_path):
    for budget, pruners in {64: ("script", "query", "trim"), 32: ("script", "query")}.items():
        for pruner in pruners:
            save_run(tmp_path, pruner, budget, [1.0, 0.0], kept=[[[0, 1]], [[2, 3]]])
    drawn = {name: figure for _, name, figure in figures(make_cells(load_runs(tmp_path).frame))}
    figure = drawn["overlap-shapes"]
    figure.draw_without_rendering()
    first, second = (axes.get_window_extent() for axes in figure.axes)
    assert first.size == pytest.approx(second.size)
