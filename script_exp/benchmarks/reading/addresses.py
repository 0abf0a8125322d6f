"""Where the benchmarks' data is, in one table: run errors, ``runners/data.py`` and the docs agree with it.

In July 2026 the data sets of lmms-eval moved on the hub (release 0.7.3 names the new places). The addresses
from before are kept, since older copies and snapshots are named after them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

HUB = "https://huggingface.co/datasets/"


@dataclass(frozen=True)
class Home:
    """A data set on the hub.

    Attributes:
        name: the owner and name of the data set today.
        before: the same until July 2026; None if it has not moved.
    """

    name: str
    before: str | None = None

    @property
    def address(self) -> str:
        """Address of the data set's page."""
        return HUB + self.name

    @property
    def lines(self) -> list[str]:
        """The address, and where the data set was before."""
        return [self.address, *([] if self.before is None else [f"(until July 2026 {HUB}{self.before})"])]


HOMES: Mapping[str, Home] = {
    "gqa": Home("lmms-lab-encoder/GQA", "lmms-lab/GQA"),
    "longvideobench": Home("longvideobench/LongVideoBench"),
    "mlvu": Home("MLVU/MVLU"),
    "mmbench": Home("lmms-lab-encoder/MMBench", "lmms-lab/MMBench"),
    "mme": Home("lmms-lab-encoder/MME", "lmms-lab/MME"),
    "mmvet": Home("lmms-lab-encoder/MMVet", "lmms-lab/MMVet"),
    "mvbench": Home("OpenGVLab/MVBench"),
    "pope": Home("lmms-lab-encoder/POPE", "lmms-lab/POPE"),
    "scienceqa": Home("lmms-lab-encoder/ScienceQA", "lmms-lab/ScienceQA"),
    "textvqa": Home("lmms-lab-encoder/textvqa", "lmms-lab/textvqa"),
    "videomme": Home("lmms-eval/Video-MME", "lmms-lab/Video-MME"),
    "vizwiz": Home("lmms-lab-encoder/VizWiz-VQA", "lmms-lab/VizWiz-VQA"),
    "vqav2": Home("lmms-lab-encoder/VQAv2", "lmms-lab/VQAv2"),
}
"""Data sets by the file in ``script_exp/benchmarks``."""

PLACES: Mapping[str, Home] = {home.address: home for home in HOMES.values()}
"""Data sets by address."""
