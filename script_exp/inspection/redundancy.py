"""How redundant visual tokens are, and where: the analysis that motivates Script's graph module.

Source: Yang et al. (Script), arXiv 2512.01949, the figure on redundancy. The paper uses CLIP's last hidden
states on 10,000 COCO images; this module analyzes any tokens, such as the projected ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_BINS = 30  # for the entropy, as in the paper's figure script
_EDGES = np.linspace(-1, 1, 81)


@dataclass(frozen=True)
class Redundancy:
    """Cosine similarity of visual tokens across their grid.

    Attributes:
        images: number of images (or crops) averaged over.
        distances: (D,) Manhattan distances 1, 2, ... rows + columns - 2.
        similarity: (images, D) mean cosine over all pairs at each distance.
        edges: (bins + 1,) edges of the two histograms.
        local: (bins,) density of the cosine of tokens at distance 1.
        random: (bins,) density of the cosine of any two tokens, from all pairs rather than a random draw.
        local_mean, random_mean: means of the two.
        neighbors: (rows, columns) mean cosine of each token to its up to four neighbors, mean over images.
        entropy: (rows, columns) bits: how much the token at a place varies from image to image, from the
            histogram of its coordinate on the first principal axis of all tokens. The bins are the same
            everywhere, so that places can be compared. At most log2 of 30 or of the number of images.
    """

    images: int
    distances: np.ndarray
    similarity: np.ndarray
    edges: np.ndarray
    local: np.ndarray
    random: np.ndarray
    local_mean: float
    random_mean: float
    neighbors: np.ndarray
    entropy: np.ndarray


def redundancy_of(tokens: np.ndarray, grid: tuple[int, int]) -> Redundancy:
    """Analyze the tokens (images, n, d) of a grid of (rows, columns), n = rows * columns in raster order.

    Raises:
        ValueError: if n is another number, or a side is smaller than 2.
    """
    images, n, _ = tokens.shape
    rows, columns = grid
    if rows * columns != n or min(grid) < 2:
        raise ValueError(f"expected tokens of a grid with sides of 2 or more, got {n} of {rows} x {columns}")
    unit = tokens / np.linalg.norm(tokens, axis=-1, keepdims=True).clip(min=1e-12)
    first, second = np.triu_indices(n, k=1)
    apart = abs(first // columns - second // columns) + abs(first % columns - second % columns)
    pairs = np.bincount(apart)[1:]
    near = apart == 1
    degree = np.bincount(np.concatenate([first[near], second[near]]), minlength=n)
    similarity = np.empty((images, len(pairs)))
    local, random = np.zeros(len(_EDGES) - 1), np.zeros(len(_EDGES) - 1)
    neighbors = np.zeros(n)
    for image in range(images):
        cosines = np.clip((unit[image] @ unit[image].T)[first, second], -1, 1)
        similarity[image] = np.bincount(apart, weights=cosines)[1:] / pairs
        local += np.histogram(cosines[near], _EDGES)[0]
        random += np.histogram(cosines, _EDGES)[0]
        for ends in (first, second):
            neighbors += np.bincount(ends[near], weights=cosines[near], minlength=n) / degree
    width = _EDGES[1] - _EDGES[0]
    return Redundancy(
        images=images,
        distances=np.arange(1, len(pairs) + 1),
        similarity=similarity,
        edges=_EDGES,
        local=local / local.sum() / width,
        random=random / random.sum() / width,
        local_mean=float(similarity[:, 0].mean()),
        random_mean=float((similarity @ pairs).mean() / pairs.sum()),
        neighbors=(neighbors / images).reshape(grid),
        entropy=_entropy(tokens).reshape(grid),
    )


def _entropy(tokens: np.ndarray) -> np.ndarray:
    """Return the entropy, in bits (n,), of the tokens' first principal coordinate at each place."""
    coordinates = first_principal_coordinate(tokens.reshape(-1, tokens.shape[-1])).reshape(tokens.shape[:2])
    edges = np.linspace(coordinates.min(), coordinates.max(), _BINS + 1)
    entropies = []
    for place in coordinates.T:
        share = np.histogram(place, edges)[0] / len(place)
        share = share[share > 0]
        entropies.append(float(-(share * np.log2(share)).sum()))
    return np.array(entropies)


def first_principal_coordinate(vectors: np.ndarray, steps: int = 100) -> np.ndarray:
    """Return the coordinate (m,) of vectors (m, d) on their first principal axis, up to its sign.

    Power iteration, because decomposing the d x d covariance takes minutes at the width of a 7B model.
    """
    centered = vectors - vectors.mean(axis=0)
    axis = centered[np.linalg.norm(centered, axis=1).argmax()]
    for _ in range(steps):
        axis = axis / max(np.linalg.norm(axis), 1e-12)
        axis = centered.T @ (centered @ axis)
    return np.asarray(centered @ (axis / max(np.linalg.norm(axis), 1e-12)))
