"""Small benchmarks in the exact formats of the official files."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow
import pyarrow.parquet
from PIL import Image
from processes import last_line, run

SHORT = "\nAnswer the question using a single word or phrase."


def write_jsonl(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def picture(name, size=(40, 30)):
    """A picture that depends on its name alone."""
    seed = int.from_bytes(name.encode()[-4:], "big")
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def write_picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(path.stem).save(path)


def cell(name):
    """A picture as the hub's parquet files hold it."""
    buffer = io.BytesIO()
    picture(name).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": f"{name}.png"}


def write_parquet(path, rows, group=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=group)


def scores(benchmark, predictions):
    """Scores of predictions by sample id, in the benchmark's order."""
    result = {}
    for sample in benchmark.samples():
        answer = benchmark.parse(sample, predictions[sample.id])
        result[sample.id] = benchmark.score(sample, answer)
    return result


def predicted(benchmark, predictions):
    """What a model said, as a submission takes it; not every sample needs to be among it."""
    return [
        SimpleNamespace(id=s.id, prediction=predictions[s.id], answer=benchmark.parse(s, predictions[s.id]))
        for s in benchmark.samples()
        if s.id in predictions
    ]


class Answered:
    """An answer with its score, as a metric takes it."""

    def __init__(self, benchmark, sample, prediction):
        self.kind, self.unit, self.references = sample.kind, sample.unit, sample.references
        self.answer = benchmark.parse(sample, prediction)
        self.score = benchmark.score(sample, self.answer)


def answered(benchmark, predictions):
    """The answers in the benchmark's order."""
    pairs = zip(benchmark.samples(), predictions, strict=True)
    return [Answered(benchmark, sample, prediction) for sample, prediction in pairs]


def run_benchmark(name, tmp_path, *arguments):
    """One run with the tiny model, without latency and unpruned run."""
    return run(
        f"benchmark={name}", "benchmark.check_count=false", "pruner=random", "budget=16", "batch_size=4",
        "latency=off", "unpruned=off", f"outputs={tmp_path / 'outputs'}", *arguments,
    )  # fmt: skip


def finished(process):
    """Run directory, result, and records of a run that went well."""
    run_dir = Path(last_line(process)["run_dir"])
    records = [json.loads(line) for line in (run_dir / "samples.jsonl").read_text().splitlines()]
    return run_dir, json.loads((run_dir / "result.json").read_text()), records
