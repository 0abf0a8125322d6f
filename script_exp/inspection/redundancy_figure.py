"""The figure of :mod:`script_exp.inspection.redundancy`."""

from __future__ import annotations

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from script_exp.analysis.figures.style import panels
from script_exp.inspection.redundancy import Redundancy

_LOCAL, _RANDOM = (sns.color_palette("colorblind").as_hex()[index] for index in (0, 1))


def redundancy_figure(found: Redundancy) -> Figure:
    """Draw similarity by distance, local against random pairs, and the two maps."""
    figure, (by_distance, pairs, neighbors, entropy) = panels(4, height=2.5, most=2)
    mean, spread = found.similarity.mean(axis=0), found.similarity.std(axis=0)
    by_distance.fill_between(
        found.distances, mean - spread, mean + spread, color=_LOCAL, alpha=0.2, linewidth=0
    )
    by_distance.plot(
        found.distances, mean, color=_LOCAL, marker="o", markersize=2.5, label="at this distance"
    )
    by_distance.axhline(
        found.random_mean, color="#222222", linestyle=(0, (4, 2)), linewidth=1.0, label="any two tokens"
    )
    by_distance.legend(loc="upper right")  # similarity falls with the distance
    by_distance.set(xlabel="Manhattan distance on the grid", ylabel="cosine similarity")
    by_distance.set_title("mean, ± standard deviation over images")
    for density, average, color, name in (
        (found.local, found.local_mean, _LOCAL, "neighbors"),
        (found.random, found.random_mean, _RANDOM, "any two tokens"),
    ):
        label = f"{name}, mean {average:z.2f}"
        share = 100 * density * np.diff(found.edges)
        pairs.stairs(share, found.edges, color=color, fill=True, alpha=0.3)
        pairs.stairs(share, found.edges, color=color, linewidth=1.2, label=label)
    drawn = np.flatnonzero(found.local + found.random)
    pairs.set_xlim(found.edges[drawn[0]], found.edges[drawn[-1] + 1])
    pairs.set(xlabel="cosine similarity", ylabel="pairs, %", title="local against random pairs")
    pairs.set_yscale("log")
    pairs.yaxis.set_major_formatter("{x:g}")
    pairs.set_ylim(0.02, 6 * pairs.get_ylim()[1])  # room for the legend
    pairs.xaxis.set_major_locator(MaxNLocator(5))
    pairs.legend(loc="upper left")
    for axes, grid, title in (
        (neighbors, found.neighbors, "similarity to the neighbors"),
        (entropy, found.entropy, "entropy over images, bits"),
    ):
        image = axes.imshow(grid, cmap="viridis", interpolation="nearest")
        axes.set(xticks=[], yticks=[], title=title)
        axes.grid(False)
        sns.despine(ax=axes, left=True, bottom=True)
        figure.colorbar(image, ax=axes, shrink=0.85).outline.set_visible(False)
    figure.suptitle(f"visual tokens of {found.images} images", fontsize=8.5)
    return figure
