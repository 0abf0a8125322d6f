"""``runners/data.py``: which data is present, which is missing, and where to get it."""

from __future__ import annotations

import pytest
from commands import imports
from gqa_data import write_hub, write_llava
from official import SHORT, cell, write_json, write_jsonl, write_parquet, write_picture
from processes import run

from script_exp.config.benchmark_config import benchmark_config
from script_exp.upkeep.data_status import download, file_benchmarks

QUESTIONS = 12_578
IMAGES = 20


def status(*arguments):
    return run("status", *arguments, script="runners/data.py")


def question(number):
    return {"imageId": f"n{number % IMAGES}", "answer": "no", "types": {"structural": "verify"}}


def write_all_of_llava(data):
    """GQA with as many questions as the official one, about few images."""
    folder = data / "gqa"
    lines = [
        {"question_id": str(number), "image": f"n{number % IMAGES}.jpg", "text": f"Is it {number}?{SHORT}"}
        for number in range(QUESTIONS)
    ]
    write_jsonl(folder / "llava_gqa_testdev_balanced.jsonl", lines)
    write_json(
        folder / "data" / "testdev_balanced_questions.json",
        {str(number): question(number) for number in range(QUESTIONS)},
    )
    for number in range(IMAGES):
        write_picture(folder / "data" / "images" / f"n{number}.jpg")
    return folder


def write_all_of_hub(data):
    folder = data / "gqa"
    images = [{"id": f"n{number}", "image": cell(f"n{number}")} for number in range(IMAGES)]
    write_parquet(folder / "testdev_balanced_images" / "testdev-00000-of-00001.parquet", images)
    rows = [{"id": str(number), "question": "?"} | question(number) for number in range(QUESTIONS)]
    write_parquet(folder / "testdev_balanced_instructions" / "testdev-00000-of-00001.parquet", rows, 5000)
    return folder


def row_of(process, name):
    """The cells of a benchmark's row in the table."""
    (line,) = [line for line in process.stdout.splitlines() if line.startswith(f" {name} ")]
    return line.split()


def test_nothing_is_there(tmp_path):
    process = status(f"data={tmp_path}")
    assert process.returncode == 1, process.stderr
    for benchmark in file_benchmarks([], str(tmp_path)):
        assert row_of(process, benchmark.name)[:2] == [benchmark.name, "missing"]
        assert f"{benchmark.name}: not found in {benchmark.folder}\n" in process.stdout
        assert f"looked for  {benchmark.looked_for}" in process.stdout
        assert f"into        {benchmark.folder}\n" in process.stdout
    assert "shapes" not in process.stdout
    for text in (
        "https://huggingface.co/datasets/lmms-lab-encoder/POPE\n",
        "(until July 2026 https://huggingface.co/datasets/lmms-lab/POPE)\n",
        "train_images of https://textvqa.org/dataset",
        "LLaVA's eval.zip and the layout of its folder: https://github.com/haotian-liu/LLaVA/",
    ):
        assert text in process.stdout
    assert not process.stderr


def test_every_benchmark_says_where_its_data_is():
    for benchmark in file_benchmarks([], None):
        lines = download(benchmark)
        assert lines[0].startswith("https://")
        assert len(lines) > 2, benchmark.name


@pytest.mark.parametrize(
    ("write", "source"), [(write_all_of_llava, "LLaVA's files"), (write_all_of_hub, "hub parquet")]
)
def test_all_is_there(tmp_path, write, source):
    folder = write(tmp_path)
    process = status("gqa", f"data={tmp_path}")
    assert process.returncode == 0, process.stdout + process.stderr
    assert row_of(process, "gqa")[:7] == ["gqa", "complete", *source.split(), "12,578", "12,578", "8"]
    assert "download" not in process.stdout
    deep = status("gqa", f"data={tmp_path}", "--deep")
    assert deep.returncode == 0, deep.stderr
    assert row_of(deep, "gqa")[6] == "20"
    path = "".join(line.split()[-1] for line in process.stdout.splitlines()[3:] if line.strip())
    assert path == str(folder)  # it is whole, if on several lines
    assert max(map(len, process.stdout.splitlines())) <= 100


def test_too_few_samples(tmp_path):
    write_llava(tmp_path / "gqa")
    process = status("gqa", f"data={tmp_path}")
    assert process.returncode == 1
    assert row_of(process, "gqa")[:6] == ["gqa", "incomplete", "LLaVA's", "files", "5", "12,578"]
    assert f"{tmp_path / 'gqa'}: 5 samples, but the official files have 12578" in process.stdout
    assert "https://cs.stanford.edu/people/dorarad/gqa/download.html" in process.stdout


def test_a_damaged_file_is_named(tmp_path):
    folder = write_all_of_llava(tmp_path)
    with (folder / "llava_gqa_testdev_balanced.jsonl").open("a") as file:
        file.write("{\n")
    process = status("gqa", f"data={tmp_path}")
    assert process.returncode == 1
    assert "gqa: " in process.stdout
    assert "balanced.jsonl, line 12579: not JSON" in process.stdout
    (folder / "llava_gqa_testdev_balanced.jsonl").unlink()
    write_hub(folder)
    parquet = next(folder.glob("testdev_balanced_instructions/*"))
    parquet.write_bytes(b"PAR1")
    process = status("gqa", f"data={tmp_path}")
    assert process.returncode == 1
    assert f"{parquet} is not a parquet file" in process.stdout


def test_bad_images(tmp_path):
    images = write_all_of_llava(tmp_path) / "data" / "images"
    broken, missing = images / "n3.jpg", images / "n11.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    missing.unlink()
    deep = status("gqa", "--deep", f"data={tmp_path}")
    assert deep.returncode == 1
    assert row_of(deep, "gqa")[1] == "incomplete"
    assert "20, 2 bad" in deep.stdout
    assert "gqa: 2 of 20 images do not load\n" in deep.stdout
    assert f"  sample 3: the image {broken} does not decode" in deep.stdout
    assert f"  sample 11: the image {missing} is missing\n" in deep.stdout
    for file in images.iterdir():
        file.unlink()
    process = status("gqa", f"data={tmp_path}")
    assert process.returncode == 1
    assert "gqa: 8 of 8 images do not load" in process.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["poppe"], "benchmark=poppe: expected one of gqa, .* (did you mean pope"),
        (["gqa", "shapes"], "benchmark=shapes: expected one of gqa"),
        (["folder=/x"], "folder=/x: expected data=FOLDER"),
        (["data="], "data=: expected data=FOLDER"),
    ],
)
def test_bad_input_is_one_sentence(arguments, message):
    process = status(*arguments)
    assert process.returncode == 2
    assert not process.stdout
    (line,) = process.stderr.splitlines()
    first, *rest = message.split(" .* ")
    assert line.startswith(f"error: {first}")
    assert all(part in line for part in rest)


def test_the_default_folder_is_the_one_of_a_run():
    assert benchmark_config("mme")["data"] == "data/MME"
    assert benchmark_config("mme", "/else where")["data"] == "/else where/MME"


def test_help():
    for arguments in (["--help"], ["status", "--help"]):
        process = run(*arguments, script="runners/data.py")
        assert process.returncode == 0
        assert "--deep" in process.stdout
        assert "Exit code: 0 if all data is complete" in process.stdout
    assert run(script="runners/data.py").returncode == 2


def test_torch_is_not_imported(tmp_path):
    process, modules = imports("runners/data.py", "status", f"data={tmp_path}")
    assert process.returncode == 1, process.stderr  # nothing is there yet
    assert "script_exp.upkeep.data_status" in modules
    assert "torch" not in modules
