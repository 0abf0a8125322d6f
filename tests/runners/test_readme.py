"""The README's program runs as printed, and its commands exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
METHODS = (ROOT / "docs" / "methods.md").read_text()


def test_the_program_runs():
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1)
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert process.returncode == 0, process.stderr
    answers = re.findall(r"user : what shape is the cyan object \? assistant : (\w+)", process.stdout.lower())
    assert answers == ["diamond", "diamond"], process.stdout


def test_every_file_that_is_named_exists():
    for target in re.findall(r"\]\((?!https)([^)]+)\)", README):
        assert (ROOT / target.partition("#")[0]).exists(), target
    for script in re.findall(r"(?:runners|analysis)/\w+\.py", README):
        assert (ROOT / script).exists(), script


def test_every_method_has_a_line_and_a_sheet():
    names = {file.stem for file in (ROOT / "conf" / "pruner").glob("*.yaml")}
    listed = re.findall(r"^\| \[?`(\w+)`[^|]*\|", METHODS, re.MULTILINE)
    assert sorted(listed) == sorted(names)
    assert names <= set(re.findall(r"`(\w+)`", README.partition("## Methods")[2].partition("## ")[0]))
    sheets = set(re.findall(r"^## (\w+)$", METHODS, re.MULTILINE))
    assert sheets == names
    assert set(re.findall(r"\(docs/methods.md#(\w+)\)", README)) == sheets
    assert set(re.findall(r"\(#(\w+)\)", METHODS)) == sheets


def test_every_picture_of_a_page_exists():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        text = page.read_text()
        for name in [*re.findall(r"!\[[^]]*\]\(([^)]+)\)", text), *re.findall(r'<img src="([^"]+)"', text)]:
            assert (page.parent / name).is_file(), f"{page.name}: {name}"


def test_every_picture_is_on_a_page():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    text = "".join(page.read_text() for page in pages)
    for picture in (ROOT / "docs" / "images").rglob("*.png"):
        assert picture.relative_to(ROOT / "docs").as_posix() in text, picture
