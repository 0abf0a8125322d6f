"""Overlap of the tokens that methods keep."""

from __future__ import annotations

from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from script_exp.analysis.accuracy import by_budget, heading
from script_exp.analysis.cells import Cells, rank
from script_exp.analysis.figures.style import FULL_WIDTH, panels, wrap
from script_exp.errors import UserError
from script_exp.results.read import load_samples

_MOST_BESIDE = 12  # methods in a heat map that has another one beside it


def kept_tokens(run_dir: Path) -> pd.Series | None:
    """Return the set of kept (crop, index) of every sample; None if the run did not record it.

    A run whose samples cannot be read is left out; the tables name it.
    """
    try:
        samples = load_samples(run_dir)
    except UserError:
        return None
    if "kept_indices" not in samples or samples["kept_indices"].isna().any():
        return None
    return samples["kept_indices"].map(
        lambda crops: {(crop, index) for crop, indices in enumerate(crops) for index in indices}
    )


def overlap(cells: pd.DataFrame, runs: Cells) -> pd.DataFrame:
    """Return the share of kept tokens that two methods have in common, averaged over common samples.

    The share is relative to the smaller set. With several seeds, the first one counts.

    Args:
        cells: cells of one setup, benchmark and budget.
        runs: the cells that they are from, with their runs.

    Returns:
        (methods, methods); empty if fewer than two methods recorded what they kept.
    """
    kept = {}
    for _, cell in cells.iterrows():
        run_dir = runs.runs.loc[cell["runs"][0], "run_dir"]
        tokens = None if pd.isna(run_dir) else kept_tokens(Path(run_dir))
        if tokens is not None:
            kept[cell["label"]] = tokens
    labels = sorted(kept, key=rank)
    if len(labels) < 2:
        return pd.DataFrame()
    shares = pd.DataFrame(np.nan, index=labels, columns=labels)
    for first, second in combinations_with_replacement(labels, 2):
        common = kept[first].index.intersection(kept[second].index)
        pairs = [(kept[first][name], kept[second][name]) for name in common]
        share = np.mean([len(a & b) / min(len(a), len(b)) for a, b in pairs]) if pairs else np.nan
        shares.loc[first, second] = shares.loc[second, first] = share
    return shares


def overlaps(cells: pd.DataFrame, runs: Cells) -> Figure | None:
    """Draw heat maps of :func:`overlap`, one per budget.

    Args:
        cells: cells of one setup and benchmark.
        runs: the cells that they are from, with their runs.
    """
    found = [(group, overlap(group, runs)) for _, group in by_budget(cells[cells["budget"].notna()])]
    found = [(group, shares) for group, shares in found if len(shares)]
    if not found:
        return None
    # All panels have the same rows, so that they are equally large and can be compared.
    labels = sorted({str(label) for _, shares in found for label in shares}, key=rank)
    found = [(group, shares.reindex(index=labels, columns=labels)) for group, shares in found]
    lines = [wrap(label).splitlines() for label in labels]
    longest, most = max(len(line) for one in lines for line in one), 2 if len(labels) <= _MOST_BESIDE else 1
    wanted = max(0.34, 0.15 * max(map(len, lines)))  # inches
    slant = 45 if max(map(len, lines)) == 1 else 90
    cell = min(wanted, (FULL_WIDTH / most - 0.06 * longest - 0.5) / len(labels))
    height = cell * len(labels) + 0.5 + (0.045 if slant == 45 else 0.07) * longest
    figure, axes = panels(len(found), height=height, most=most, sharey=True)
    figure.set_size_inches(FULL_WIDTH if most == 1 else figure.get_figwidth(), figure.get_figheight() - 0.3)
    for one, (group, shares) in zip(axes, found, strict=True):
        sns.heatmap(
            100 * shares.rename(index=wrap, columns=wrap), ax=one, vmin=0, vmax=100, cmap="crest",
            annot=True, fmt=".0f", square=True,
            linewidths=0.5, cbar=False, annot_kws={"size": 7},
        )  # fmt: skip
        one.set_title(heading(group))
        one.grid(visible=False)
        one.set_facecolor("#f3f3f3")  # of methods without a run at this budget
        one.tick_params(axis="x", rotation=slant, length=0, pad=2)
        one.tick_params(axis="y", rotation=0, length=0)
        for tick in one.get_xticklabels():
            tick.set(horizontalalignment="right", rotation_mode="anchor")
            if slant == 90:
                tick.set_verticalalignment("center")
    figure.suptitle("kept tokens in common, %", fontsize=8.5)
    return figure
