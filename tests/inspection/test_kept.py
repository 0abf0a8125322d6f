"""Pictures of what was kept: the command, its choice of samples, and opening runs as they were."""

from __future__ import annotations

import base64
import io
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from made_runs import save_run
from PIL import Image
from processes import run
from texts import check_texts

from script_exp.analysis.figures.kept import Answer, KeptPicture, kept_figure
from script_exp.analysis.figures.style import FORMATS, style
from script_exp.errors import UserError
from script_exp.inspection.choose import answers, disagreements, side_by_side, worst_regressions
from script_exp.inspection.open_run import open_run
from script_exp.inspection.pictures import Gallery
from script_exp.inspection.seen import kept_by, see
from script_exp.inspection.selection import effect_of_released_graph, relevance_by_pick, selections
from script_exp.pruners import Graph, QueryConditioned, Random, ScriptReleased
from script_exp.report.images import kept_images
from script_exp.results.overlay import kept_overlay
from script_exp.results.read import load_runs

SHARED = ["budget=32", "benchmark.scenes=3", "limit=12", "latency=off", "record_kept=true"]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Runs of the tiny model; all but query and pyramid recorded what they kept."""
    folder = tmp_path_factory.mktemp("outputs")
    pruners = "pruner=none,random,graph,script,fastv,query,pyramid"
    process = run("-m", pruners, *SHARED, f"outputs={folder}")
    assert process.returncode == 0, process.stderr
    for pruner in ("query", "pyramid"):
        (file,) = folder.glob(f"tiny/shapes/{pruner}-*/samples.jsonl")
        records = [json.loads(line) | {"kept_indices": None} for line in file.read_text().splitlines()]
        file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


@pytest.fixture(scope="module")
def runs(outputs):
    return side_by_side(load_runs(outputs).frame)


@pytest.fixture(scope="module")
def samples(runs):
    return answers(runs)


def place_of(runs, pruner):
    return runs.loc[runs["pruner"] == pruner, "place"].item()


def test_opened_runs_keep_what_they_kept(runs, samples):
    for pruner in ("random", "graph", "script"):
        place = place_of(runs, pruner)
        cell = open_run(Path(place))
        assert cell.directory.name == Path(place).name
        for seen in see(cell, cell.samples()[:4]):
            assert kept_by(cell, seen) == samples[place].loc[seen.sample.id, "kept_indices"]
    assert kept_by(open_run(Path(place_of(runs, "fastv"))), seen) is None


@pytest.mark.parametrize("pruners", ["query,fastervlm,mmtok", "mmtok,visionzip"])
def test_what_was_not_recorded_is_chosen_again_whatever_a_method_reads(tmp_path, pruners):
    """One encoding of an image serves all methods: the tower's signals, the words, the joint space."""
    folders = [tmp_path / name for name in ("recorded", "not")]
    for folder in folders:
        kept = f"record_kept={str(folder == folders[0]).lower()}"
        cells = ["-m", f"pruner={pruners}", "budget=32", "benchmark.scenes=1", "limit=2", "latency=off"]
        assert run(*cells, "unpruned=off", kept, f"outputs={folder}").returncode == 0
    shown = []
    for folder in folders:
        runs = side_by_side(load_runs(folder).frame)
        own = answers(runs)
        name = next(iter(own.values())).index[0]
        (picture,) = Gallery.open(runs, own).pictures([name])
        shown.append({one.method: one.kept for group in picture.pruned for one in group})
    assert shown[0] == shown[1]
    assert len(shown[0]) == len(pruners.split(","))


def test_maps_are_those_that_the_methods_go_by(runs):
    cell = open_run(Path(place_of(runs, "script")))
    (seen,) = see(cell, cell.samples()[:1])
    crops, n, _ = seen.visual.projected.shape
    assert seen.pictures.shape[0] == crops
    relevance, redundancy = seen.relevance(), seen.redundancy()
    assert relevance.shape == redundancy.shape == (crops, n)
    assert (relevance.min(), relevance.max()) == (0, 1)
    least = np.sort(np.argsort(redundancy[0], kind="stable")[:32])
    assert kept_by(open_run(Path(place_of(runs, "graph"))), seen) == [least.tolist()]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda config: config | {"batch_size": 5}, r"its settings now give identity \w+, not \w+, because"),
        (lambda config: config | {"dtype": "torch.int8"}, "dtype=int8: expected one of"),
        (lambda config: {"model": None}, r"config.yaml is damaged \(KeyError: 'dtype'\)"),
    ],
)
def test_a_run_that_would_be_another_one_today(runs, tmp_path, change, why):
    copy = Path(shutil.copytree(place_of(runs, "graph"), tmp_path / "run"))
    config = yaml.safe_load((copy / "config.yaml").read_text())
    (copy / "config.yaml").write_text(yaml.safe_dump(change(config)))
    with pytest.raises(UserError, match=why) as caught:
        open_run(copy)
    assert str(caught.value).startswith(f"{copy} cannot be opened: ")


def test_runs_are_put_side_by_side(runs):
    assert list(runs["label"]) == ["none", "random", "fastv", "pyramid", "graph", "query", "script"]
    assert runs["budget"].isna().tolist() == [True] + [False] * 6


def table_of(outputs, *runs):
    """Made-up runs of two samples, and their places in order."""
    places = [
        str(save_run(outputs, run.pop("pruner", "script"), run.pop("budget", 32), [1.0, 0.0], **run))
        for run in runs
    ]
    return load_runs(outputs).frame, places


def test_one_run_stands_for_its_seeds_and_limits(tmp_path):
    table, places = table_of(
        tmp_path, {"limit": 2}, {"seed": 1}, {"seed": 0}, {"budget": 64}, {"variant": "walk=3"}
    )
    shown = side_by_side(table)
    assert list(shown["place"]) == [places[3], places[2], places[4]]
    assert list(shown["label"]) == ["script", "script", "script (walk=3)"]
    table, _ = table_of(tmp_path, {"model": "other"})
    with pytest.raises(UserError, match=r"expected runs of one model on one benchmark, not .*model other"):
        side_by_side(table)


def scored(**scores):
    """Samples of a run: score and answer by id."""
    return pd.DataFrame({"score": pd.Series(scores, dtype=float)}).assign(
        answer=lambda table: table["score"].map(str)
    )


def test_which_samples(tmp_path):
    table, (none, script, graph, graph_64) = table_of(
        tmp_path, {"pruner": "none", "budget": None}, {"pruner": "script"}, {"pruner": "graph"},
        {"pruner": "graph", "budget": 64},
    )  # fmt: skip
    runs = side_by_side(table)
    samples = {
        none: scored(a=1, b=1, c=0, d=0.5),
        script: scored(a=1, b=0, c=1, d=0.2),
        graph: scored(a=0, b=0, c=1, d=0.2),
        graph_64: scored(a=0, b=0, c=0, d=0.2),
    }
    assert worst_regressions(runs, samples, 9) == ["b", "a", "d"]  # 1, 2/3, 0.3; c gains
    assert worst_regressions(runs, samples, 9, "script") == ["b", "d"]
    assert worst_regressions(runs, samples, 1) == ["b"]
    assert disagreements(runs, samples, ["script", "graph"], 9) == ["a"]  # at 32, the budget of both
    samples[graph].loc["d", "answer"] = "another wrong one"
    assert disagreements(runs, samples, ["script", "graph"], 9) == ["a", "d"]
    with pytest.raises(UserError, match=r"--regressions=trim: expected one .*: graph, script"):
        worst_regressions(runs, samples, 9, "trim")
    with pytest.raises(UserError, match="expected two methods"):
        disagreements(runs, samples, ["script"], 9)
    with pytest.raises(UserError, match="a budget in common"):
        disagreements(runs, samples, ["none", "graph"], 9)
    with pytest.raises(UserError, match="no finished unpruned run"):
        worst_regressions(runs[runs["budget"].notna()], samples, 9)


def picture_of(crops, methods=2, size=(24, 24), **settings):
    grid = size[0] // 6, size[1] // 6
    n = math.prod(grid)
    generator = np.random.default_rng(1)
    answer = Answer("script, 8", "$5 and $6", 1.0, [list(range(8))] * crops)
    return KeptPicture(
        "a", "m on b, sample a", "what does $x^2$ cost?", ["$5"],
        generator.integers(0, 255, (crops, *size, 3), dtype=np.uint8), grid,
        {"relevance": generator.random((crops, n)), "redundancy": np.ones((crops, n))},
        **{"unpruned": answer, "pruned": [[answer] * methods, [answer]]} | settings,
    )  # fmt: skip


def test_a_figure_shows_everything():
    with style():
        figure = kept_figure(picture_of(1))
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["image", "relevance", "redundancy", "script, 8", "script, 8", "script, 8"]
    said = [axes.get_xlabel() for axes in figure.axes if axes.get_xlabel()]
    assert said == ["script, 8: $5 and $6 ✓", *["$5 and $6 ✓"] * 3]
    assert [text.get_text() for text in figure.texts] == [
        "m on b, sample a", "what does $x^2$ cost?", "Accepted: $5",
    ]  # fmt: skip
    kept = np.asarray(figure.axes[3].images[0].get_array())
    whole = picture_of(1).pictures[0]
    assert (kept[:12] == whole[:12]).all()
    assert (kept[12:] >= 191).all()


SQUARE, WIDE, TALL = (24, 24), (24, 60), (96, 24)
PANELS = [
    *((crops, methods, SQUARE) for crops in (1, 2, 3, 5, 7) for methods in (1, 3, 8)),
    *((crops, 3, size) for crops in (1, 2) for size in (WIDE, TALL)),
]


@pytest.mark.parametrize(("crops", "methods", "size"), PANELS)
def test_panels_do_not_overlap_and_are_inside(crops, methods, size):
    with style():
        figure = kept_figure(picture_of(crops, methods, size))
    boxes = [axes.get_position() for axes in figure.axes]
    assert len(boxes) == 3 + methods + 1
    for number, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= 1 + 1e-9
        assert box.y1 < 1
        for other in boxes[:number]:
            apart = box.x0 >= other.x1 or other.x0 >= box.x1 or box.y0 >= other.y1 or other.y0 >= box.y1
            assert apart
    check_texts(figure)
    width, height = figure.get_size_inches()
    shape = size[1] / size[0]
    assert boxes[0].width * width == pytest.approx(boxes[0].height * height * min(crops, 5) * shape)


def test_indices_of_another_grid_are_not_drawn():
    pictures = np.zeros((1, 8, 12, 3), np.uint8)
    overlay = kept_overlay(pictures, [[5]], (2, 3))
    assert overlay.size == (12, 8)
    kept = np.argwhere(np.asarray(overlay)[..., 0] == 0)
    assert [*kept.min(axis=0), *kept.max(axis=0)] == [4, 8, 7, 11]
    assert kept_overlay(pictures, [[6]], (2, 3)) is None
    assert kept_overlay(pictures, [[0], [0]], (2, 3)) is None


def test_scores_that_are_neither_right_nor_wrong():
    partly, unscored = (Answer("trim, 8", "", score, [[0]]) for score in (0.3, None))
    with style():
        figure = kept_figure(picture_of(1, unpruned=None, pruned=[[partly, unscored]]))
    said = {axes.get_xlabel() for axes in figure.axes if axes.get_xlabel()}
    assert said == {"(nothing) (0.30)", "(nothing)"}


def test_numbers_on_selections(runs):
    cell = open_run(Path(place_of(runs, "script")))
    seen = list(see(cell, cell.samples()[:4]))
    k = 48
    table = selections(
        seen, {"graph": Graph(budget=k), "random": Random(budget=k), "query": QueryConditioned(budget=k)}
    )
    n = seen[0].tokens
    assert table.loc["graph", "redundancy"] == pytest.approx(
        100 * (k - 1) / 2 / (n - 1), abs=0.1
    )  # the lowest k
    assert table.loc["query", "relevance"] > 60
    assert table.loc["random", "as random"] == 100
    assert table.loc["graph", "as query"] == pytest.approx(table.loc["query", "as graph"])
    by_pick = relevance_by_pick(seen, k)
    assert list(by_pick.index) == list(range(1, k + 1))
    assert by_pick.loc[1].tolist() == pytest.approx([1, 1], abs=1e-4)  # both begin with the most relevant
    head = ScriptReleased(budget=k, version="head")
    relevance = head.relevance(seen[0].visual.joint, seen[0].query)
    kept = head(seen[0].visual, seen[0].query).indices
    alone = relevance_by_pick(seen[:1], k)["released loop"].mean()
    assert alone == pytest.approx(float(relevance.gather(1, kept).mean()), abs=1e-5)
    effect = effect_of_released_graph(seen, k)
    assert list(effect.index) == [one.sample.id for one in seen]
    assert (effect["loop"] == 100).all()
    assert (effect["graph"] < 100).all()


def command(outputs, *arguments):
    return run(outputs, *arguments, script="analysis/kept.py")


@pytest.mark.slow
def test_the_command_draws_what_is_asked_for(outputs, samples, runs, tmp_path):
    name = next(iter(samples[place_of(runs, "query")].index))
    process = command(outputs, "--sample", name, "--to", tmp_path)
    assert process.returncode == 0, process.stderr
    stem = f"tiny-shapes-{name}"
    assert process.stdout == f"1 pictures in {tmp_path}: {stem}\n"
    assert {file.name for file in tmp_path.iterdir()} == {f"{stem}.{ending}" for ending in FORMATS}
    assert Image.open(tmp_path / f"{stem}.png").width == 1360
    (left_out,) = process.stderr.splitlines()
    assert left_out.startswith(f"left out: {place_of(runs, 'pyramid')}: what a method inside the LLM kept")


def test_a_gallery_shows_what_was_recorded(runs, samples):
    name = next(iter(samples[place_of(runs, "fastv")].index))
    (shown,) = Gallery.open(runs, samples).pictures([name])
    assert shown.unpruned.method == "unpruned"
    assert set(shown.maps) == {"relevance", "redundancy"}
    (row,) = shown.pruned
    assert [answer.method for answer in row] == [
        f"{m}, 32" for m in ("random", "fastv", "graph", "query", "script")
    ]
    for answer, pruner in zip(row, ("random", "fastv", "graph", "query", "script"), strict=True):
        record = samples[place_of(runs, pruner)].loc[name]
        assert (answer.text, answer.score) == (record["prediction"], record["score"])
        assert len(answer.kept[0]) == 32
    assert row[1].kept == samples[place_of(runs, "fastv")].loc[name, "kept_indices"]


def test_without_a_method_that_asks_the_question_there_is_no_relevance(runs, samples):
    blind = runs[runs["pruner"].isin(["none", "graph"])]
    name = next(iter(samples[place_of(runs, "graph")].index))
    (shown,) = Gallery.open(blind, samples).pictures([name])
    assert set(shown.maps) == {"redundancy"}
    with style():
        figure = kept_figure(shown)
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == [
        "image",
        "redundancy",
        "graph, 32",
    ]


def test_the_report_shows_the_worst_regressions(outputs, runs, samples):
    (name,) = worst_regressions(runs, samples, 1)
    (image,), missing = kept_images(load_runs(outputs).frame, 1)
    assert image.title == f"tiny on shapes, sample {name}"
    head, data = image.source.split(",")
    assert head == "data:image/webp;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).width > 1000
    for pruner in ("random", "graph", "script", "query", "fastv"):
        prediction = samples[place_of(runs, pruner)].loc[name, "prediction"]
        assert f"{pruner}, 32: {prediction}" in image.alt
    assert [reason.split(": what")[0] for reason in missing] == [place_of(runs, "pyramid")]
    same = runs[runs["pruner"] == "none"]
    same = pd.concat([same, same.assign(pruner="script", label="script", budget=32.0, identity="other")])
    assert kept_images(same, 1) == ([], ["no sample scores lower than in the unpruned run"])


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--sample", "nowhere"], "--sample=nowhere: expected an answered sample, such as 20264-0000-0"),
        (["--disagree", "script"], "--disagree=script: expected two methods, for example script,graph"),
        (["--regressions", "trim"], "--regressions=trim: expected one with a finished run: random, fastv"),
        (["--pruner", "scirpt"], "--pruner=scirpt: expected one with a finished run: fastv, graph, none"),
        (["--most", "0"], "--most=0: expected a whole number >= 1"),
    ],
)
def test_mistakes_are_one_sentence(outputs, arguments, error):
    process = command(outputs, *arguments)
    assert process.returncode == 2
    assert process.stderr.startswith(f"error: {error}")
    assert len(process.stderr.splitlines()) == 1


def test_no_runs(tmp_path):
    process = command(tmp_path)
    assert process.returncode == 2
    assert process.stderr == (
        f"error: no finished runs with answers in {tmp_path}; python runners/run.py makes one\n"
    )


def test_runs_that_cannot_be_opened(runs, samples, tmp_path):
    copy = Path(shutil.copytree(place_of(runs, "graph"), tmp_path / "tiny" / "shapes" / "graph"))
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["model"]["path"] = str(tmp_path / "gone")
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    broken = side_by_side(load_runs(tmp_path).frame)
    with pytest.raises(UserError, match=r"^none of the runs can be opened; the first one: .*gone"):
        Gallery.open(broken, answers(broken))
    both = pd.concat([runs, broken])
    gallery = Gallery.open(both, samples | answers(broken))
    assert str(copy) not in gallery.cells
    assert any(problem.startswith(f"{copy} cannot be opened: ") for problem in gallery.problems)
    assert len(gallery.cells) == len(runs) - 1  # pyramid, inside the LLM, did not record what it kept
