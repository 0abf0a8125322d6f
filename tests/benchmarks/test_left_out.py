"""Bad entries end the run with an error that names their place; with on_error=skip they are left out."""

from __future__ import annotations

import json

import gqa_data
import pyarrow.parquet
import pytest
import test_longvideobench
import test_mlvu
import test_mmbench
import test_mme
import test_mmvet
import test_mvbench
import test_pope
import test_scienceqa
import test_textvqa
import test_videomme
import test_vizwiz
import vqav2_data
from official import finished, run_benchmark

from script_exp.cell.build import _benchmark, build_benchmark
from script_exp.config.benchmark_config import benchmark_config
from script_exp.errors import UserError

LINES = {  # the file of the questions, one a line
    "gqa": (gqa_data.write_llava, "llava_gqa_testdev_balanced.jsonl"),
    "pope": (test_pope.write_llava, "llava_pope_test.jsonl"),
    "mme": (test_mme.write_llava, "llava_mme.jsonl"),
    "mmvet": (test_mmvet.write_llava, "llava-mm-vet.jsonl"),
    "textvqa": (test_textvqa.write_llava, "llava_textvqa_val_v051_ocr.jsonl"),
    "vizwiz_test": (test_vizwiz.write_llava, "llava_test.jsonl"),
    "vqav2": (vqav2_data.write_llava, "llava_vqav2_mscoco_test-dev2015.jsonl"),
    "mmbench": (test_mmbench.write_llava, "mmbench_dev_20230712.tsv"),
}
LISTS = {  # the file of the questions, one JSON list
    "scienceqa": (test_scienceqa.write_llava, "llava_test_CQM-A.json"),
    "vizwiz": (test_vizwiz.write_official, "val.json"),
    "mvbench": (test_mvbench.write_whole, "json/action_sequence.json"),
    "longvideobench": (test_longvideobench.write_official, "lvb_val.json"),
    "mlvu": (test_mlvu.write_official, "json/1_plotQA.json"),
}
ROWS = {  # parquet files
    "gqa": gqa_data.write_hub, "pope": test_pope.write_hub, "mme": test_mme.write_hub,
    "mmvet": test_mmvet.write_hub, "textvqa": test_textvqa.write_hub, "vizwiz": test_vizwiz.write_hub,
    "vqav2_val": vqav2_data.write_hub, "mmbench": test_mmbench.write_hub,
    "scienceqa": test_scienceqa.write_hub, "videomme": test_videomme.write_hub,
    "longvideobench": test_longvideobench.write_hub, "mlvu": test_mlvu.write_hub,
}  # fmt: skip


def benchmark(name, folder, on_error="raise"):
    _benchmark.cache_clear()  # the files have changed
    config = benchmark_config(name) | {"data": str(folder), "check_count": False, "on_error": on_error}
    return build_benchmark(config | ({"frames": 2} if "frames" in config else {}))


def one_less(name, folder, place):
    """Both ways to take an entry that is not right; the samples that are left, and why others are not."""
    with pytest.raises(UserError, match=rf"{place}.*benchmark.on_error=skip leaves it out"):
        benchmark(name, folder).samples()
    skipping = benchmark(name, folder, "skip")
    assert all(str(folder) in where or str(folder) in why for where, why in skipping.left_out.items())
    return [sample.id for sample in skipping.samples()], skipping.left_out


@pytest.mark.parametrize("name", LINES)
def test_a_line_that_is_cut_off(name, tmp_path):
    folder = tmp_path / name
    write, file = LINES[name]
    write(folder)
    whole = [sample.id for sample in benchmark(name, folder).samples()]
    text = (folder / file).read_text(encoding="utf-8")
    (folder / file).write_text(text.rstrip("\n") + '\n{"question_id": 1, "te', encoding="utf-8")
    number = len((folder / file).read_text(encoding="utf-8").split("\n"))
    ids, left_out = one_less(name, folder, f"line {number}: ")
    assert ids == whole
    assert len(left_out) == 1


@pytest.mark.parametrize("name", LISTS)
def test_an_entry_without_what_it_needs(name, tmp_path):
    folder = tmp_path / name
    write, file = LISTS[name]
    write(folder)
    whole = [sample.id for sample in benchmark(name, folder).samples()]
    entries = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps([*entries, {}]))
    ids, left_out = one_less(name, folder, f"entry {len(entries)}: ")
    assert ids == whole
    assert len(left_out) == 1


@pytest.mark.parametrize("name", ROWS)
def test_a_row_without_its_question(name, tmp_path):
    folder = tmp_path / name
    ROWS[name](folder)
    whole = [sample.id for sample in benchmark(name, folder).samples()]
    (path,) = sorted(folder.rglob(build_benchmark(benchmark_config(name)).parquet))[:1]
    rows = pyarrow.parquet.read_table(path).to_pylist()
    rows[-1]["question"] = None
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=2)
    ids, left_out = one_less(name, folder, r"row \d+: question=None: expected str")
    assert set(ids) < set(whole)
    assert len(ids) + len(left_out) <= len(whole) + 1  # an image of MME loses its other question, too
    assert left_out


def test_the_same_question_twice(tmp_path):
    gqa_data.write_llava(tmp_path)
    file = tmp_path / "llava_gqa_testdev_balanced.jsonl"
    first = file.read_text().splitlines()[0]
    file.write_text(file.read_text() + first + "\n")
    with pytest.raises(UserError, match="duplicate ids"):
        benchmark("gqa", tmp_path).samples()
    skipping = benchmark("gqa", tmp_path, "skip")
    ids = [sample.id for sample in skipping.samples()]
    assert len(set(ids)) == len(ids)
    assert ["duplicate id" in why for why in skipping.left_out.values()] == [True]


def test_a_run_lists_and_counts_what_was_left_out(tmp_path):
    folder = tmp_path / "data" / "gqa"
    gqa_data.write_llava(folder)
    file = folder / "llava_gqa_testdev_balanced.jsonl"
    lines = file.read_text().splitlines()
    lines[1] = lines[1][:30]
    file.write_text("\n".join(lines) + "\n")
    process = run_benchmark("gqa", tmp_path, f"data={folder.parent}")
    assert process.returncode == 2
    assert "llava_gqa_testdev_balanced.jsonl, line 2: not JSON" in process.stderr
    run_dir, result, records = finished(
        run_benchmark("gqa", tmp_path, f"data={folder.parent}", "benchmark.on_error=skip")
    )
    assert len(records) == len(lines) - 1
    assert (result["accuracy"]["skipped"], result["accuracy"]["partial"]) == (1, True)
    (skipped,) = map(json.loads, (run_dir / "skipped.jsonl").read_text().splitlines())
    assert skipped["id"].endswith("llava_gqa_testdev_balanced.jsonl, line 2")
    assert "not JSON" in skipped["why"]
