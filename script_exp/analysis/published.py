"""Numbers published by others, shown beside ours and never mixed with them.

``published.csv`` has one number per line: model and benchmark as named in ``conf/``, the method as its paper
calls it, ``tokens`` in total and ``budget`` per crop (empty: unpruned), the value and its source. All of them
follow LLaVA's protocol.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd


def load_published() -> pd.DataFrame:
    """Load all published numbers: model, method, tokens, budget, benchmark, value, source."""
    return pd.read_csv(Path(__file__).with_name("published.csv"), comment="#")


@dataclass(frozen=True)
class References:
    """Published numbers for the columns of one table.

    Attributes:
        notes: their sources.
    """

    frame: pd.DataFrame = field(default_factory=pd.DataFrame)
    columns: Sequence[str] = ()
    notes: list[str] = field(default_factory=list)

    def rows(self, budget: float) -> list[tuple[str, list[str]]]:
        """Return the name and values of each method at a budget (NaN: unpruned); unknown values are empty."""
        if self.frame.empty:
            return []
        same = self.frame["budget"].isna() if np.isnan(budget) else self.frame["budget"] == budget
        found = []
        for (method, source), group in self.frame[same].groupby(["method", "source"], sort=False):
            values = group.set_index("column")["value"]
            texts = [f"{values[column]:.1f}" if column in values else "" for column in self.columns]
            number = list(self.frame["source"].unique()).index(source) + 1
            found.append((f"{method} [{number}]", texts))
        return found


def reference_rows(cells: pd.DataFrame, columns: Sequence[str], published: pd.DataFrame | None) -> References:
    """Return the numbers published for a table's model and benchmarks; none for parts of benchmarks."""
    first = cells.iloc[0]
    if published is None or first["weights"] == "random" or not pd.isna(first["limit"]):
        return References()
    of_column = {}
    for column, group in cells.groupby("column"):
        settings = json.loads(group["benchmark_settings"].iloc[0])
        if settings.get("protocol") == "llava":
            of_column[group["benchmark"].iloc[0]] = column
    frame = published[(published["model"] == first["model"]) & published["benchmark"].isin(list(of_column))]
    if frame.empty:
        return References()
    notes = ["Gray: published by others under their own settings; not measured here and not ranked."]
    notes += [f"[{number}] {source}" for number, source in enumerate(frame["source"].unique(), start=1)]
    return References(frame.assign(column=frame["benchmark"].map(of_column)), columns, notes)
