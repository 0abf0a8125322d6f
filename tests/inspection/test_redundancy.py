"""The redundancy analysis, against slow versions of its definitions, and its figure."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from texts import check_texts

from script_exp.analysis.figures.style import FORMATS, save, style
from script_exp.inspection.redundancy import first_principal_coordinate, redundancy_of
from script_exp.inspection.redundancy_figure import redundancy_figure

ROWS, COLUMNS, IMAGES = 3, 4, 6


@pytest.fixture(scope="module")
def tokens():
    """Smooth grids: the nearer two tokens, the more alike."""
    generator = np.random.default_rng(3)
    rough = generator.normal(size=(IMAGES, ROWS + 2, COLUMNS + 2, 10))
    smooth = sum(rough[:, y : y + ROWS, x : x + COLUMNS] for y in range(3) for x in range(3))
    return smooth.reshape(IMAGES, ROWS * COLUMNS, 10)


def cosine(a, b):
    return float(a @ b / np.sqrt(a @ a) / np.sqrt(b @ b))


def distance(i, j):
    return abs(i // COLUMNS - j // COLUMNS) + abs(i % COLUMNS - j % COLUMNS)


def test_similarity_by_distance(tokens):
    found = redundancy_of(tokens, (ROWS, COLUMNS))
    assert list(found.distances) == list(range(1, ROWS + COLUMNS - 1))
    pairs = list(combinations(range(ROWS * COLUMNS), 2))
    for image in range(IMAGES):
        for apart in found.distances:
            expected = np.mean(
                [cosine(tokens[image, i], tokens[image, j]) for i, j in pairs if distance(i, j) == apart]
            )
            assert found.similarity[image, apart - 1] == pytest.approx(expected)
    every = [cosine(grid[i], grid[j]) for grid in tokens for i, j in pairs]
    near = [cosine(grid[i], grid[j]) for grid in tokens for i, j in pairs if distance(i, j) == 1]
    assert found.random_mean == pytest.approx(np.mean(every))
    assert found.local_mean == pytest.approx(np.mean(near))
    assert found.local_mean > found.random_mean
    width = np.diff(found.edges)
    for density, cosines in ((found.local, near), (found.random, every)):
        assert (density * width).sum() == pytest.approx(1)
        middle = (found.edges[:-1] + found.edges[1:]) / 2
        assert (density * width * middle).sum() == pytest.approx(np.mean(cosines), abs=0.0125)


def test_maps(tokens):
    found = redundancy_of(tokens, (ROWS, COLUMNS))
    for place in (0, 5, 10):
        around = [other for other in range(ROWS * COLUMNS) if distance(place, other) == 1]
        expected = np.mean([[cosine(grid[place], grid[other]) for other in around] for grid in tokens])
        assert found.neighbors[place // COLUMNS, place % COLUMNS] == pytest.approx(expected)
    assert found.entropy.shape == (ROWS, COLUMNS)
    assert (found.entropy <= np.log2(IMAGES) + 1e-9).all()


def test_entropy_is_zero_where_all_images_agree(tokens):
    fixed = tokens.copy()
    fixed[:, 6] = fixed[0, 6]
    entropy = redundancy_of(fixed, (ROWS, COLUMNS)).entropy.ravel()
    assert entropy[6] == 0
    assert (np.delete(entropy, 6) > 0).all()


def test_the_first_principal_coordinate(tokens):
    vectors = tokens.reshape(-1, 10)
    centered = vectors - vectors.mean(axis=0)
    axis = np.linalg.svd(centered, full_matrices=False)[2][0]
    found, expected = first_principal_coordinate(vectors), centered @ axis
    assert np.abs(found) == pytest.approx(np.abs(expected), abs=1e-3)


def test_tokens_that_are_no_grid():
    for grid in ((2, 4), (1, 6)):
        with pytest.raises(ValueError, match="grid with sides of 2 or more, got 6 of"):
            redundancy_of(np.ones((1, 6, 3)), grid)


def test_the_figure_shows_the_numbers(tokens, tmp_path):
    found = redundancy_of(tokens, (ROWS, COLUMNS))
    with style():
        check_texts(redundancy_figure(found))
        figure = redundancy_figure(found)
        files = save(figure, tmp_path, "redundancy")
    assert [file.suffix[1:] for file in files] == list(FORMATS)
    by_distance, pairs, neighbors, entropy, *_ = figure.axes
    assert by_distance.lines[0].get_ydata() == pytest.approx(found.similarity.mean(axis=0))
    assert f"mean {found.local_mean:.2f}" in pairs.get_legend().get_texts()[0].get_text()
    assert np.asarray(neighbors.images[0].get_array()) == pytest.approx(found.neighbors)
    assert np.asarray(entropy.images[0].get_array()) == pytest.approx(found.entropy)
