"""A local task of lmms-eval with the questions of ``shapes``, and what both harnesses answer."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from script_exp.benchmarks.base import Sample
from script_exp.cell.build import build_benchmark
from script_exp.config.benchmark_config import benchmark_config

SCENES = 3
POST = "\nAnswer the question using a single word or phrase."

TASK = """
task: {name}
dataset_path: parquet # a builder of `datasets`: nothing is fetched
dataset_kwargs:
  data_files:
    test: {file}
test_split: test
output_type: {output_type}
doc_to_visual: !function utils.{visual}
doc_to_text: !function utils.text
doc_to_target: answer
{kind}
metric_list:
  - metric: {metric}
    aggregation: mean
    higher_is_better: true
lmms_eval_specific_kwargs:
  default:
    pre_prompt: ""
    post_prompt: "{post}"
metadata:
  - version: 0.0
"""
GREEDY = """
process_results: !function utils.results
generation_kwargs:
  max_new_tokens: 4
  temperature: 0
  do_sample: false
"""
UTILS = """
def image(doc):
    return [doc["image"].convert("RGB")]

def text(doc, lmms_eval_specific_kwargs=None):
    own = lmms_eval_specific_kwargs or {}
    return own.get("pre_prompt", "") + doc["question"] + own.get("post_prompt", "")

def results(doc, results):
    return {"exact": float(results[0].strip().lower() == doc["answer"])}
"""


def write_tasks(folder: Path) -> Path:
    """Write the questions and tasks: ``shapes_local``, ``_post`` with a post prompt, others to refuse."""
    rows = []
    for sample in questions():
        png = io.BytesIO()
        sample.visual().save(png, "PNG")
        image = {"bytes": png.getvalue(), "path": None}
        rows.append(
            {"image": image, "id": sample.id, "question": sample.question, "answer": sample.references[0]}
        )
    names = ("id", "question", "answer")
    features = {name: {"dtype": "string", "_type": "Value"} for name in names} | {"image": {"_type": "Image"}}
    schema = pa.schema(
        [
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            *((n, pa.string()) for n in names),
        ],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},  # so that images are decoded
    )
    file = folder / "shapes.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), file)
    (folder / "utils.py").write_text(UTILS)
    usual = {
        "file": file,
        "output_type": "generate_until",
        "visual": "image",
        "kind": GREEDY,
        "metric": "exact",
        "post": "",
    }
    choices = {
        "output_type": "multiple_choice",
        "kind": 'doc_to_choice: ["yes", "no", "two", "red"]',
        "metric": "acc",
    }
    tasks = {
        "shapes_local": {},
        "shapes_post": {"post": POST.replace("\n", "\\n")},
        "shapes_choice": choices,
        "shapes_sampled": {"kind": GREEDY.replace("temperature: 0\n  do_sample: false", "temperature: 0.7")},
    }
    for name, own in tasks.items():
        (folder / f"{name}.yaml").write_text(TASK.format(name=name, **usual | own))
    return folder


def questions() -> Sequence[Sample]:
    """The questions in the order of the file."""
    return build_benchmark(benchmark_config("shapes") | {"scenes": SCENES}).samples()
