"""One table says where the data is: errors of runs, ``runners/data.py``, configs and docs agree with it."""

from __future__ import annotations

import re

import pytest
from official import run_benchmark
from processes import ROOT

from script_exp.benchmarks.reading.addresses import HOMES, HUB
from script_exp.upkeep.data_status import download, file_benchmarks

MOVED = {home.before for home in HOMES.values() if home.before is not None}
FILES = [
    file
    for place, pattern in (("script_exp", "**/*.py"), ("conf", "**/*.yaml"), ("docs", "*.md"), (".", "*.md"))
    for file in (ROOT / place).glob(pattern)
]


def test_every_benchmark_is_in_the_table():
    for benchmark in file_benchmarks([], None):
        home = HOMES[type(benchmark).__module__.rsplit(".", 1)[1]]
        assert benchmark.home == home.address
        assert download(benchmark)[: len(home.lines)] == home.lines


def test_a_run_without_data_links_where_the_data_is_today(tmp_path):
    process = run_benchmark("pope", tmp_path, f"data={tmp_path}")
    assert process.returncode != 0
    assert "(https://huggingface.co/datasets/lmms-lab-encoder/POPE; docs/benchmarks.md)" in process.stderr


@pytest.mark.parametrize("name", ["gqa", "videomme"])
def test_what_data_py_prints(name):
    (benchmark,) = file_benchmarks([name], None)
    said = "\n".join(download(benchmark))
    before = HOMES[name].before
    assert said.count(f"{HUB}{before}") == said.count(f"(until July 2026 {HUB}{before})") == 1
    assert said.count(HOMES[name].address) == 2  # as the home, and in the paragraph on the files


def test_no_page_links_a_place_that_has_moved():
    """Where an old address is named, it is said to be one."""
    for file in FILES:
        text = file.read_text(encoding="utf-8").replace("(until July 2026 " + HUB, "")
        linked = set(re.findall(re.escape(HUB) + r"([\w.-]+/[\w.-]*\w)", text))
        assert not linked & MOVED, file
