"""TextVQA: prompts with and without OCR tokens, the same from both sources, and their references."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet
import pytest
from official import (
    SHORT,
    cell,
    finished,
    run_benchmark,
    scores,
    write_json,
    write_jsonl,
    write_parquet,
    write_picture,
)
from processes import last_line, run

from script_exp.benchmarks.textvqa import TextVqa
from script_exp.errors import UserError
from script_exp.inspection.open_run import open_run
from script_exp.inspection.seen import kept_by, see

ROWS = [  # image, question, OCR tokens, answers
    (
        "003a8ae2ef43b901",
        "what is the brand of this camera?",
        ["DAKOTA", "DIGITAL"],
        ["Dakota"] * 4 + ["nous"] * 6,
    ),
    ("003a8ae2ef43b901", "what's on the label?", ["DAKOTA", "DIGITAL"], ["Dakota's"] * 10),
    ("00685bc495504d61", "how much is it in $?", [], ["1,000"] * 2 + ["1000"] + ["a lot"] * 7),
]
PREDICTIONS = {
    "003a8ae2ef43b901-1": "DAKOTA.",
    "003a8ae2ef43b901-2": "Dakota's",
    "00685bc495504d61-1": "1,000",
}


def write_llava(folder):
    lines = [
        {
            "question_id": image, "image": f"{image}.jpg", "category": "default",
            "text": f"{question.capitalize()}\nReference OCR token: {', '.join(tokens)}{SHORT}",
        }
        for image, question, tokens, _ in ROWS
    ]  # fmt: skip
    write_jsonl(folder / "llava_textvqa_val_v051_ocr.jsonl", lines)
    data = [
        {
            "question": question,
            "image_id": image,
            "answers": answers,
            "question_id": 34602 + turn,
        }
        for turn, (image, question, _, answers) in enumerate(ROWS)
    ]
    write_json(
        folder / "TextVQA_0.5.1_val.json", {"dataset_type": "val", "dataset_version": "0.5.1", "data": data}
    )
    for image in {row[0] for row in ROWS}:
        write_picture(folder / "train_images" / f"{image}.jpg")
    return folder


def write_hub(folder):
    rows = [
        {
            "image_id": image, "question_id": 34602 + turn, "question": question, "answers": answers,
            "ocr_tokens": tokens, "image": cell(image), "set_name": "val",
        }
        for turn, (image, question, tokens, answers) in enumerate(ROWS)
    ]  # fmt: skip
    write_parquet(folder / "data" / "validation-00000-of-00003.parquet", rows)
    return folder


@pytest.fixture(params=[write_llava, write_hub])
def folder(request, tmp_path):
    return request.param(tmp_path / "data" / "textvqa")


def textvqa(folder, **settings):
    return TextVqa(**{"data": str(folder), "check_count": False} | settings)


def test_prompts(folder):
    first, _, last = textvqa(folder).samples()
    assert first.prompt == "What is the brand of this camera?\nReference OCR token: DAKOTA, DIGITAL" + SHORT
    assert first.question == "What is the brand of this camera?"
    assert last.prompt == "How much is it in $?\nReference OCR token: " + SHORT
    assert textvqa(folder, ocr=False).samples()[0].prompt == "What is the brand of this camera?" + SHORT
    lmms = textvqa(folder, protocol="lmms").samples()
    assert lmms[0].prompt == "What is the brand of this camera?" + SHORT  # no OCR tokens by default
    assert textvqa(folder, protocol="lmms", ocr=True).samples()[0].prompt == first.prompt
    assert lmms[0].visual().size == (40, 30)


def test_both_sources_are_the_same_questions(tmp_path):
    files, hub = write_llava(tmp_path / "llava"), write_hub(tmp_path / "hub")
    for settings in ({}, {"ocr": False}, {"protocol": "lmms"}):
        assert textvqa(files, **settings).fingerprint() == textvqa(hub, **settings).fingerprint()


def test_only_changed_prompts_have_a_new_version(tmp_path):
    """LLaVA's own file always had its questions as they are asked now, so its finished runs stay valid."""
    assert textvqa(write_llava(tmp_path / "llava")).prompt_version == 1
    assert textvqa(write_hub(tmp_path / "hub")).prompt_version == 2


def test_a_lower_case_question_in_llava_s_file_is_asked_as_it_is(tmp_path):
    file = write_llava(tmp_path) / "llava_textvqa_val_v051_ocr.jsonl"
    file.write_text(file.read_text().replace("What is the brand", "what is the brand"))
    assert textvqa(tmp_path).samples()[0].prompt.startswith("what is the brand of this camera?\n")


def test_the_recorded_settings_say_what_is_used(tmp_path):
    given = {"protocol": "llava", "protocol_version": None, "ocr": None}
    assert textvqa(tmp_path, **given).in_full(given) == {"protocol": "llava", "ocr": True}
    given["protocol"] = "lmms"
    used = {"protocol": "lmms", "protocol_version": "0.7.3", "ocr": False}
    assert textvqa(tmp_path, **given).in_full(given) == used
    with pytest.raises(UserError, match=r"protocol_version=0.3.0: expected 0.7.3 or null for protocol=lmms"):
        textvqa(tmp_path, protocol="lmms", protocol_version="0.3.0")
    with pytest.raises(UserError, match=r"protocol_version=0.7.3: expected null for protocol=llava"):
        textvqa(tmp_path, protocol_version="0.7.3")
    with pytest.raises(UserError, match="ocr=no: expected true, false or null"):
        textvqa(tmp_path, ocr="no")


@pytest.mark.parametrize("ocr", [True, False])
def test_the_released_code_compares_with_the_prompt_before_its_last_instruction(folder, ocr):
    for sample in (benchmark := textvqa(folder, ocr=ocr)).samples():
        assert sample.query == sample.question
        assert benchmark.released_query(sample) == sample.prompt.removesuffix(SHORT)
        assert ("Reference OCR token: " in benchmark.released_query(sample)) == ocr


@pytest.mark.parametrize(
    ("pruner", "write", "latency"),
    [("query", write_llava, "on"), ("script", write_hub, "off"), ("trim", write_llava, "off")],
)
def test_every_method_that_asks_gets_the_released_text(tmp_path, pruner, write, latency):
    """Accuracy and FLOPs: OCR tokens make the text of the query encoder longer."""
    given = f"data={write(tmp_path / 'data' / 'textvqa').parent}", f"pruner={pruner}", f"latency={latency}"
    tokens = {}
    for text in ("bare", "released"):
        run_dir, result, records = finished(run_benchmark("textvqa", tmp_path, *given, f"query_text={text}"))
        tokens[text] = [record["query"] for record in records]
        assert ("query_text=released" in result["cell"]["variant"]) == (text == "released")
        assert f"query_text: {text}" in (run_dir / "config.yaml").read_text()
    assert all(long > short for long, short in zip(tokens["released"], tokens["bare"], strict=True))


def test_script_released_compares_with_the_released_text(tmp_path, folder):
    given = f"data={folder.parent}", "pruner=script_released", "record_kept=true"
    run_dir, result, records = finished(run_benchmark("textvqa", tmp_path, *given))
    assert result["cell"]["variant"] == ""
    cell = open_run(run_dir)
    assert [one.query for one in cell.samples()] == [one.prompt.removesuffix(SHORT) for one in cell.samples()]
    for seen, record in zip(see(cell, cell.samples()), records, strict=True):
        assert kept_by(cell, seen) == record["kept_indices"]
    kept = [record["kept_indices"] for record in records]
    _, _, records = finished(run_benchmark("textvqa", tmp_path, *given, "query_text=bare"))
    assert kept != [record["kept_indices"] for record in records]


def test_what_a_run_kept_is_found_again_whichever_text_another_run_had(tmp_path, folder):
    """Pictures show all runs of a sample, which is read and encoded once for all of them."""
    given = f"data={folder.parent}", "pruner=query", "record_kept=true"
    runs = {
        text: finished(run_benchmark("textvqa", tmp_path, *given, f"query_text={text}"))
        for text in ("bare", "released")
    }
    kept = {text: [one["kept_indices"] for one in records] for text, (_, _, records) in runs.items()}
    assert kept["bare"] != kept["released"]
    cells = {text: open_run(run_dir) for text, (run_dir, _, _) in runs.items()}
    for eye in cells.values():
        seen = list(see(eye, eye.benchmark.samples()))
        for text, opened in cells.items():
            assert [kept_by(opened, one) for one in seen] == kept[text]


def test_the_speed_of_a_method_is_that_with_its_text(tmp_path, folder):
    flops = {}
    for text in ("bare", "released"):
        process = run(
            "benchmark=textvqa", "benchmark.check_count=false", f"data={folder.parent}", "pruner=graph,query",
            "budget=16", f"query_text={text}", "bench.samples=1", "bench.repeats=1", "bench.warm_up=0",
            "bench.decode_steps=1", f"outputs={tmp_path / text}", script="runners/bench.py",
        )  # fmt: skip
        report = json.loads(Path(last_line(process)["bench"]).read_text())
        flops[text] = [method["flops"]["stages"]["query_encoder"] for method in report["methods"]]
    assert flops["bare"][:2] == flops["released"][:2] == [0, 0]
    assert flops["released"][2] > flops["bare"][2] > 0


def test_another_text_is_refused(tmp_path, folder):
    process = run_benchmark("textvqa", tmp_path, f"data={folder.parent}", "query_text=prompt")
    assert process.returncode == 2
    assert "query_text=prompt: expected bare, released or null" in process.stderr


def test_scores(folder):
    assert list(scores(textvqa(folder), PREDICTIONS).values()) == pytest.approx([1, 1, 0.9])
    assert list(scores(textvqa(folder, protocol="lmms"), PREDICTIONS).values()) == pytest.approx([1, 1, 0.9])


def test_a_question_without_references(tmp_path):
    file = write_llava(tmp_path) / "llava_textvqa_val_v051_ocr.jsonl"
    file.write_text(file.read_text().replace("brand", "name"))
    with pytest.raises(UserError, match=r"line 1: 'What is the name of this camera.' about 003a8ae2ef43b901"):
        textvqa(tmp_path).samples()


def test_end_to_end(tmp_path, folder):
    _, result, records = finished(run_benchmark("textvqa", tmp_path, f"data={folder.parent}"))
    assert [record["id"] for record in records] == list(PREDICTIONS)
    settings = {"protocol": "llava", "on_error": "raise", "ocr": True}
    assert result["cell"]["benchmark_settings"] == settings  # as before there was a protocol_version
    assert result["accuracy"]["metric"] == "mean"


def test_changed_images_are_said(tmp_path):
    """By a finished run, a sweep's plan and one that resumes; where an image is gone nothing can be told."""
    folder = write_hub(tmp_path / "data" / "textvqa")
    (file,) = folder.rglob("*.parquet")
    given = f"data={tmp_path / 'data'}", "device=cpu"

    def said(*more):
        process = run_benchmark("textvqa", tmp_path, *given, *more)
        assert process.returncode == 0, process.stderr
        return process.stderr, process.stdout

    warning = "the images or videos of benchmark=textvqa have changed since this run; force=true starts over"
    first = last_line(run_benchmark("textvqa", tmp_path, *given))["run_dir"]
    assert warning not in said()[0]
    rows = pyarrow.parquet.read_table(file).to_pylist()
    rows[-1]["image"] = rows[0]["image"]
    write_parquet(file, rows)
    assert all(warning in said(*more)[0] for more in ((), ("-m",)))
    assert "accuracy" in (Path(first) / "result.json").read_text()  # what was measured stays
    rows[-1]["image"] = {"bytes": b"broken", "path": None}
    write_parquet(file, rows)
    assert warning not in said()[0]
