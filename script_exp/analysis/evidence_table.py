"""The share of the evidence that methods keep on made clips, for which it is known what shows the answer."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from script_exp.analysis.cells import make_cells, setup_title
from script_exp.analysis.table import Entry, Group, Row, Table
from script_exp.benchmarks.clips import Clips
from script_exp.errors import UserError
from script_exp.results.read import load_samples
from script_exp.shapes.clip_questions import CLIP_KINDS
from script_exp.shapes.evidence import share_kept

_NOTHING = "no finished run of benchmark=clips with record_kept=true"
_NOTES = [
    "Share of the evidence that stands at kept tokens, in %: of each object that a question needs, the part "
    "of its area in the one frame that shows it; mean over the objects of a question, then over questions. "
    "A token into which others were merged counts as the place where it stands."
]


def evidence_tables(runs: pd.DataFrame) -> tuple[list[Table], list[str]]:
    """Return one table per setup, and one sentence for every run that is left out.

    Raises:
        UserError: if no run over clips has recorded what it kept.
    """
    own = runs[runs["benchmark"] == Clips.name]
    if own.empty:
        raise UserError(_NOTHING)
    cells = make_cells(own)
    problems, tables = list(cells.problems), []
    known: dict[str, Mapping[str, np.ndarray]] = {}
    for setup in cells.setups():
        groups: dict[str, list[Row]] = {}
        data: list[dict[str, Any]] = []
        for _, cell in setup.sort_values(["budget", "label"], ascending=[False, True]).iterrows():
            run = cells.runs.loc[cell["runs"]].sort_values("seed").iloc[0]
            try:
                shares = shares_of(run, known)
            except UserError as error:
                problems.append(str(error))
                continue
            kinds = shares.index.str.rpartition("-").get_level_values(2)
            found = [shares.mean(), *(shares[kinds == kind].mean() for kind in CLIP_KINDS)]
            texts = [cell["label"], *("" if pd.isna(one) else f"{100 * one:.1f}" for one in found)]
            budget = "unpruned" if pd.isna(cell["budget"]) else f"budget {cell['budget']:g}"
            groups.setdefault(budget, []).append(Row([Entry(text) for text in texts]))
            data.append(
                {"budget": cell["budget"], "method": cell["label"], "run": run["place"]}
                | dict(zip(("evidence", *CLIP_KINDS), found, strict=True))
            )
        if data:
            rows = [Group(heading, own) for heading, own in groups.items()]
            columns = ["Method", "All", *CLIP_KINDS]
            title = f"Evidence kept, % ({setup_title(setup)})"
            tables.append(Table("evidence", title, columns, rows, pd.DataFrame(data), _NOTES))
    if not tables:
        why = f"; left out: {problems[0]}" if problems else ""
        raise UserError(_NOTHING + why)
    return tables, problems


def shares_of(run: pd.Series, known: dict[str, Mapping[str, np.ndarray]]) -> pd.Series:
    """Return the share of the evidence that one run kept, by sample.

    Args:
        run: a row of the table of runs.
        known: the evidence by the benchmark's settings; what is missing is added.

    Raises:
        UserError: if the run did not record what it kept, or its frames are no squares of tokens.
    """
    samples = load_samples(Path(run["run_dir"]))
    if "kept_indices" not in samples or samples["kept_indices"].isna().any():
        raise UserError(f"{run['place']}: it does not say what it kept; run it with record_kept=true")
    settings = run["benchmark_settings"]
    if settings not in known:
        wanted = json.loads(settings)
        known[settings] = Clips(**{key: wanted[key] for key in ("clips", "frames", "clip_seed")}).evidence()
    shares = {}
    for name, sample in samples.iterrows():
        tokens = sample["visual"] // len(sample["kept_indices"])
        side = math.isqrt(tokens)
        if side**2 != tokens:
            raise UserError(f"{run['place']}: a frame has {tokens} tokens: expected a square of them")
        shares[str(name)] = share_kept(known[settings][str(name)], sample["kept_indices"], side)
    return pd.Series(shares)
