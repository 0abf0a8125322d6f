"""Bad entries end the run with an error that names their place; with on_error=skip they are left out."""

from __future__ import annotations

import json
import os

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
from official import SHORT, finished, run_benchmark

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


def write_jsonl_ascii(file, entries):
    """With escapes, so that half of a surrogate pair can be written."""
    file.write_text("".join(json.dumps(entry) + "\n" for entry in entries))


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


WITH_OPTIONS = {"mvbench", "longvideobench", "mlvu", "videomme", "mmbench", "scienceqa"}  # in the question
ODD = [None, 7, 1.5, True, [], {}, [None], "", " \n", "a\0b", "\ud800", "x" * 10_000 + "\0"]


def is_named(name, folder):
    """Whether a bad entry is named with its place, is left out alone, and takes no other with it."""
    with pytest.raises(UserError, match=r"benchmark.on_error=skip leaves it out") as raised:
        benchmark(name, folder).samples()
    assert any(word in str(raised.value) for word in (", line ", ", entry ", ", row "))
    assert len(str(raised.value)) < 5_000
    assert str(raised.value).isprintable()
    skipping = benchmark(name, folder, "skip")
    return [sample.id for sample in skipping.samples()]


@pytest.mark.parametrize("name", sorted({*LINES, *LISTS} - {"scienceqa", "mmbench"}))
@pytest.mark.parametrize("odd", ODD, ids=lambda odd: repr(odd)[:12])
def test_any_odd_question_in_json(name, odd, tmp_path):
    if name in WITH_OPTIONS and isinstance(odd, str) and not odd.strip():
        pytest.skip("the question has its options, too")
    folder = tmp_path / name
    write, file = {**LINES, **LISTS}[name]
    write(folder)
    whole = [sample.id for sample in benchmark(name, folder).samples()]
    text = (folder / file).read_text(encoding="utf-8")
    entries = [json.loads(line) for line in text.splitlines()] if name in LINES else json.loads(text)
    key = "text" if name in LINES else "question"
    suffix = SHORT if isinstance(odd, str) and name in ("gqa", "pope") else ""
    entries[1][key] = f"{odd}{suffix}" if isinstance(odd, str) else odd
    if name in LINES:
        write_jsonl_ascii(folder / file, entries)
    else:
        (folder / file).write_text(json.dumps(entries))
    left = is_named(name, folder)
    assert set(left) < set(whole)
    assert len(whole) - len(left) <= (2 if name == "mme" else 1)
    assert left == [one for one in whole if one in left]


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("odd", ["", " \n", "a\0b"], ids=repr)
def test_any_odd_question_in_parquet(name, odd, tmp_path):
    if name in WITH_OPTIONS and not odd.strip():
        pytest.skip("the question has its options, too")
    folder = tmp_path / name
    ROWS[name](folder)
    whole = [sample.id for sample in benchmark(name, folder).samples()]
    path, *_ = sorted(folder.rglob(build_benchmark(benchmark_config(name)).parquet))
    rows = pyarrow.parquet.read_table(path).to_pylist()
    rows[-1]["question"] = odd
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=2)
    left = is_named(name, folder)
    assert 0 < len(whole) - len(left) <= 2
    assert left == [one for one in whole if one in left]


ANNOTATIONS = [  # benchmark, writer, file, where in it the first entry is
    ("gqa", gqa_data.write_llava, "data/testdev_balanced_questions.json", ("201307251",)),
    ("textvqa", test_textvqa.write_llava, "TextVQA_0.5.1_val.json", ("data", 0)),
    ("vqav2_val", vqav2_data.write_official, "v2_mscoco_val2014_annotations.json", ("annotations", 0)),
    ("vqav2_val", vqav2_data.write_official, "v2_OpenEnded_mscoco_val2014_questions.json", ("questions", 0)),
    ("scienceqa", test_scienceqa.write_llava, "problems.json", None),
    ("mmvet", test_mmvet.write_llava, "mm-vet.json", ("v1_0",)),
]


@pytest.mark.parametrize(
    ("name", "write", "file", "at"), ANNOTATIONS, ids=lambda given: given if isinstance(given, str) else ""
)
@pytest.mark.parametrize("odd", [None, 7, "text", [], [None], {}], ids=repr)
def test_any_odd_annotation(name, write, file, at, odd, tmp_path):
    folder = tmp_path / name
    write(folder)
    whole = [sample.id for sample in benchmark(name, folder).samples()]
    (path,) = folder.rglob(file)
    content = holder = json.loads(path.read_text())
    at = at or (next(one for one in content if one in whole),)
    for key in at[:-1]:
        holder = holder[key]
    holder[at[-1]] = odd
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"benchmark.on_error=skip leaves it out") as raised:
        benchmark(name, folder).samples()
    assert path.name in str(raised.value)
    skipping = benchmark(name, folder, "skip")
    assert len(skipping.samples()) == len(whole) - 1
    assert skipping.left_out


@pytest.mark.parametrize(
    "odd", [None, 3, "no", [None], [{"answer": None}], [None, {"answer": "a"}], []], ids=repr
)
@pytest.mark.parametrize(
    ("name", "write", "file", "at"),
    [
        ("textvqa", test_textvqa.write_llava, "TextVQA_0.5.1_val.json", "data"),
        ("vqav2_val", vqav2_data.write_official, "v2_mscoco_val2014_annotations.json", "annotations"),
        ("vizwiz", test_vizwiz.write_official, "val.json", None),
    ],
)
def test_any_odd_list_of_answers(name, write, file, at, odd, tmp_path):
    write(tmp_path)
    whole = [sample.id for sample in benchmark(name, tmp_path).samples()]
    path = tmp_path / file
    content = json.loads(path.read_text())
    (content[at] if at else content)[0]["answers"] = odd
    path.write_text(json.dumps(content))
    assert len(is_named(name, tmp_path)) == len(whole) - 1


@pytest.mark.parametrize("damaged", ["llava_pope_test.jsonl", "coco/coco_pope_popular.json"])
def test_a_cut_line_of_pope_takes_only_its_own_question_with_it(damaged, tmp_path):
    test_pope.write_llava(tmp_path)
    whole = {sample.id: sample.references for sample in benchmark("pope", tmp_path).samples()}
    lines = (tmp_path / damaged).read_text().splitlines()
    (number,) = (turn for turn, line in enumerate(lines) if "chair" in line)
    lines[number] = lines[number][:40]
    (tmp_path / damaged).write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=r"line \d+.*benchmark.on_error=skip leaves it out"):
        benchmark("pope", tmp_path).samples()
    skipping = benchmark("pope", tmp_path, "skip")
    left = {sample.id: sample.references for sample in skipping.samples()}
    assert left == {name: label for name, label in whole.items() if name != "popular-6"}
    assert len(skipping.left_out) == 1


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a.jpg", "/etc/passwd", "a/../..", "a\0.jpg", "\ud800.jpg", "\x1b[2J"]
)
def test_an_image_name_that_is_no_file_in_the_folder(name, tmp_path):
    gqa_data.write_llava(tmp_path)
    file = tmp_path / "llava_gqa_testdev_balanced.jsonl"
    entries = [json.loads(line) for line in file.read_text().splitlines()]
    entries[1]["image"] = name
    write_jsonl_ascii(file, entries)
    assert len(is_named("gqa", tmp_path)) == len(entries) - 1


def test_a_number_of_five_thousand_digits_and_a_deep_list(tmp_path):
    for line in ('{"question_id": ' + "9" * 5_000 + "}", "[" * 100_000):
        gqa_data.write_llava(tmp_path)
        file = tmp_path / "llava_gqa_testdev_balanced.jsonl"
        whole = len(file.read_text().splitlines())
        file.write_text(file.read_text() + line + "\n")
        assert len(is_named("gqa", tmp_path)) == whole


def test_a_question_file_that_is_a_pipe(tmp_path):
    test_mmvet.write_llava(tmp_path)
    (path,) = tmp_path.rglob("mm-vet.json")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match="it is not a file"):
        benchmark("mmvet", tmp_path).samples()


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
