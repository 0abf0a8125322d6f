"""Make pictures of what finished runs kept of single samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path

import pandas as pd

from script_exp.analysis.figures.kept import Answer, KeptPicture
from script_exp.cell.prepared import RunCell
from script_exp.errors import UserError
from script_exp.inspection.open_run import open_run
from script_exp.inspection.seen import Seen, kept_by, see
from script_exp.pruners import LayerPruner


@dataclass(frozen=True)
class Gallery:
    """Runs of one model on one benchmark, opened again.

    Attributes:
        runs: the runs to show (:func:`script_exp.inspection.choose.side_by_side`).
        samples: the samples of each run, by its place.
        cells: the cell of each run, by its place.
        problems: one sentence per run that is left out.
    """

    runs: pd.DataFrame
    samples: Mapping[str, pd.DataFrame]
    cells: dict[str, RunCell]
    problems: list[str]

    @classmethod
    def open(cls, runs: pd.DataFrame, samples: Mapping[str, pd.DataFrame]) -> Gallery:
        """Open the runs; no model is loaded yet.

        Raises:
            UserError: if none can be opened.
        """
        cells: dict[str, RunCell] = {}
        problems = []
        for _, run in runs.iterrows():
            try:
                cells[run["place"]] = open_run(Path(run["run_dir"]))
            except UserError as error:
                problems.append(str(error))
        if not cells:
            raise UserError(f"none of the runs can be opened; the first one: {problems[0]}")
        inside = [place for place, cell in cells.items() if not _is_known(cell, samples[place])]
        problems += [
            f"{place}: what a method inside the LLM kept is known only if it ran with record_kept=true"
            for place in inside
        ]
        shown = [place for place in cells if place not in inside]
        return cls(
            runs[runs["place"].isin(shown)], samples, {place: cells[place] for place in shown}, problems
        )

    def pictures(self, names: Sequence[str]) -> Iterator[KeptPicture]:
        """Yield the pictures of the samples with these ids.

        Raises:
            UserError: if an image cannot be loaded, or its tokens are no grid of patches.
        """
        # Prefer a run whose pruner uses the question: without the question there is no relevance to show.
        eye = next((cell for cell in self.cells.values() if cell.pruner.needs_query), None)
        eye = eye or next(iter(self.cells.values()))
        wanted = {sample.id: sample for sample in eye.benchmark.samples()}
        reads = reduce(or_, (cell.pruner.reads.of_whole_picture for cell in self.cells.values()))
        for seen in see(eye, (wanted[name] for name in names), reads):
            yield self._picture(seen)

    def _picture(self, seen: Seen) -> KeptPicture:
        relevance = seen.relevance()
        answers = [
            (run["budget"], self._answer(run, seen))
            for _, run in self.runs.iterrows()
            if seen.sample.id in self.samples[run["place"]].index
        ]
        budgets = dict.fromkeys(budget for budget, _ in answers if not pd.isna(budget))
        first = self.runs.iloc[0]
        return KeptPicture(
            seen.sample.id,
            f"{first['model']} on {first['column']}, sample {seen.sample.id}",
            seen.sample.question,
            list(seen.sample.references),
            seen.pictures,
            seen.grid,
            {
                **({} if relevance is None else {"relevance": relevance}),
                "redundancy": seen.redundancy(),
            },
            next((answer for budget, answer in answers if pd.isna(budget)), None),
            [[answer for own, answer in answers if own == budget] for budget in budgets],
        )

    def _answer(self, run: pd.Series, seen: Seen) -> Answer:
        record = self.samples[run["place"]].loc[seen.sample.id].to_dict()
        kept = record.get("kept_indices")
        if not isinstance(kept, list):
            kept = kept_by(self.cells[run["place"]], seen) or []
        label = "unpruned" if pd.isna(run["budget"]) else f"{run['label']}, {run['budget']:g}"
        score = None if pd.isna(run["accuracy"]) else float(record["score"])
        return Answer(label, record["prediction"], score, kept)


def _is_known(cell: RunCell, samples: pd.DataFrame) -> bool:
    """Return whether what was kept is recorded, or can be computed without running the LLM."""
    if not isinstance(cell.pruner, LayerPruner):
        return True
    return "kept_indices" in samples and bool(samples["kept_indices"].notna().all())
