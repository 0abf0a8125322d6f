"""The picture of scenes in the docs: what it says, and that it can be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from processes import ROOT
from scenes_picture import SHOWN, scenes_figure, shown_scenes
from texts import check_texts, drawn_texts

from script_exp.analysis.figures.style import style


@pytest.mark.parametrize("benchmark", SHOWN)
def test_the_picture_shows_what_the_benchmark_asks(benchmark):
    settings = yaml.safe_load(Path(ROOT, "conf", "benchmark", f"{benchmark}.yaml").read_text())
    assert settings["scene_seed"] == SHOWN[benchmark][1]
    with style():
        figure = scenes_figure(benchmark)
    scenes = shown_scenes(benchmark)
    for axes, text, (scene, questions) in zip(figure.axes, drawn_texts(figure), scenes, strict=True):
        assert (np.asarray(axes.images[0].get_array()) == scene.image).all()
        said = " ".join(text.get_text().split())
        assert said == " ".join(f"{one.text} {one.answer}" for one in questions)
        assert "a orange" not in said  # as the benchmark asks elsewhere
        assert text.get_fontsize() >= 7.5  # as in the other figures
    check_texts(figure)
