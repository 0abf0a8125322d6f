"""GQA, and with it what all benchmarks that read files share."""

from __future__ import annotations

import json

import pytest
from gqa_data import PREDICTIONS, ROWS, write_hub, write_llava
from official import SHORT, cell, finished, run_benchmark, scores, write_parquet

from script_exp.benchmarks.gqa import Gqa
from script_exp.errors import DataError, UserError


@pytest.fixture(params=[write_llava, write_hub])
def folder(request, tmp_path):
    return request.param(tmp_path / "data" / "gqa")


def gqa(folder, **settings):
    return Gqa(**{"data": str(folder), "check_count": False} | settings)


def test_samples_are_the_same_from_both_sources(folder):
    benchmark = gqa(folder)
    samples = benchmark.samples()
    assert [(s.id, s.unit, s.question, *s.references, s.kind) for s in samples] == ROWS
    assert all(s.prompt == s.question + SHORT for s in samples)
    assert [s.visual().size for s in samples] == [(40, 30)] * 5
    assert samples[0].visual().mode == "RGB"
    assert benchmark.fingerprint() == "b3d5f23d16516b11"


def test_scores(folder):
    predictions = dict(zip((row[0] for row in ROWS), PREDICTIONS, strict=True))
    assert list(scores(gqa(folder), predictions).values()) == [1, 0, 1, 1, 1]
    # lmms-eval: "T-shirt" and "t-shirt" both become "tshirt", and a comma inside does not matter
    predictions["201307251"] = "n,o"
    assert list(scores(gqa(folder, protocol="lmms"), predictions).values()) == [1, 0, 1, 1, 1]
    assert list(scores(gqa(folder), predictions).values()) == [0, 0, 1, 1, 1]
    assert (gqa(folder).max_new_tokens, gqa(folder, protocol="lmms").max_new_tokens) == (128, 16)


def test_the_count_has_to_be_official(folder):
    with pytest.raises(UserError, match=r"5 samples, but the official files have 12578"):
        gqa(folder, check_count=True).samples()


def lines_of(folder):
    return folder / "llava_gqa_testdev_balanced.jsonl"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question_id": "1", "image": "n161313.jpg"', "balanced.jsonl, line 6: not JSON"),
        ("[1]", "line 6: expected a JSON object, got list"),
        ('{"question_id": "1", "image": "n161313.jpg"}', "line 6: no 'text' among question_id, image"),
        ('{"question_id": "1", "image": 5, "text": "?"}', "line 6: image=5: expected str"),
        (
            '{"question_id": "1", "image": "a.jpg", "text": "?"}',
            "line 6: question 1 is not in .*questions.json",
        ),
        ('{"question_id": "20602949", "image": "../../b.jpg", "text": "?"}', "line 6: .*b.jpg' leads out of"),
        ('{"question_id": "20602949", "image": "/etc/b.jpg", "text": "?"}', "line 6: .*b.jpg' leads out of"),
        ('{"question_id": "20602949", "image": "b.jpg", "text": "?"}', "duplicate ids 20602949"),
    ],
)
def test_lines_that_are_not_right(tmp_path, line, message):
    file = lines_of(write_llava(tmp_path))
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(UserError, match=message):
        gqa(tmp_path).samples()


def test_parquet_files_that_are_not_right(tmp_path):
    write_hub(tmp_path)
    file = next(tmp_path.glob("testdev_balanced_instructions/*"))
    write_parquet(file, [{"id": "1", "question": "?"}])
    with pytest.raises(UserError, match=r"no column answer, imageId, types among id, question"):
        gqa(tmp_path).samples()
    file.write_bytes(b"PAR1 not")
    with pytest.raises(UserError, match=r"is not a parquet file"):
        gqa(tmp_path).samples()


def test_an_image_that_is_missing_or_broken(tmp_path):
    samples = gqa(write_llava(tmp_path)).samples()
    image = tmp_path / "data" / "images" / "n161313.jpg"
    image.write_bytes(image.read_bytes()[:300])
    with pytest.raises(DataError, match=r"n161313.jpg does not decode"):
        samples[0].visual()
    image.unlink()
    with pytest.raises(DataError, match=r"n161313.jpg is missing"):
        samples[0].visual()
    assert samples[2].visual().size == (40, 30)


def test_an_image_of_the_hub_that_is_missing_or_broken(tmp_path):
    write_hub(tmp_path)
    file = next(tmp_path.glob("testdev_balanced_images/*"))
    broken = {"bytes": cell("x")["bytes"][:90], "path": "x.png"}
    write_parquet(file, [{"id": "n161313", "image": broken}, {"id": "n235859", "image": cell("n235859")}])
    samples = gqa(tmp_path).samples()
    with pytest.raises(DataError, match=r"row group 0, row 0: the image does not decode"):
        samples[0].visual()
    with pytest.raises(DataError, match=r"there is no image n235860"):
        samples[4].visual()


def test_end_to_end(tmp_path, folder):
    arguments = [f"data={folder.parent}"]
    run_dir, result, records = finished(run_benchmark("gqa", tmp_path, *arguments))
    assert [record["id"] for record in records] == [row[0] for row in ROWS]
    assert all(record["kept"] == 16 for record in records)
    accuracy = result["accuracy"]
    assert (accuracy["metric"], accuracy["n"], accuracy["partial"], accuracy["skipped"]) == (
        "mean",
        5,
        False,
        0,
    )
    assert accuracy["by_kind"].keys() == {"verify", "query", "logical", "choose"}
    # The same samples elsewhere are the same run; other samples are another.
    moved = folder.parent.rename(tmp_path / "moved")
    again = run_benchmark("gqa", tmp_path, f"benchmark.data={moved / 'gqa'}")
    assert finished(again)[0] == run_dir
    assert "already finished" in again.stderr


def test_skipping(tmp_path):
    folder = write_llava(tmp_path / "data" / "gqa")
    (folder / "data" / "images" / "n235860.jpg").unlink()
    process = run_benchmark("gqa", tmp_path, f"data={tmp_path / 'data'}")
    assert process.returncode == 2
    assert len([line for line in process.stderr.splitlines() if line.startswith("error")]) == 1
    assert "error: sample 20602950: the image" in process.stderr
    assert "n235860.jpg is missing; benchmark.on_error=skip leaves it out" in process.stderr
    # a batch without a single good sample is passed over
    process = run_benchmark(
        "gqa", tmp_path, f"data={tmp_path / 'data'}", "benchmark.on_error=skip", "latency=on"
    )
    run_dir, result, records = finished(process)
    assert len(records) == result["accuracy"]["n"] == 4
    assert result["accuracy"]["partial"]
    assert result["accuracy"]["skipped"] == 1
    (skipped,) = map(json.loads, (run_dir / "skipped.jsonl").read_text().splitlines())
    assert skipped["id"] == "20602950"
    assert "is missing" in skipped["why"]
    assert "4 samples (partial: 1 skipped, see skipped.jsonl)" in process.stdout


def test_bad_settings_are_one_sentence(tmp_path):
    for arguments, message in [
        (
            ["data=/nowhere"],
            "benchmark.data=/nowhere/gqa: expected a folder with llava_gqa_testdev_balanced.jsonl",
        ),
        (["benchmark.protocol=mine"], "benchmark.protocol=mine: expected one of llava, lmms"),
    ]:
        process = run_benchmark("gqa", tmp_path, *arguments)
        assert process.returncode == 2
        assert process.stderr.startswith(f"error: {message}")
        assert len(process.stderr.splitlines()) == 1
        assert not (tmp_path / "outputs").exists()
