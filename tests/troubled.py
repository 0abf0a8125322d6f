"""A benchmark that is slow or ends badly, for tests of what a run survives."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from script_exp.benchmarks.shapes import Shapes

WITH_TROUBLE = "benchmark._target_=troubled.Troubled"


@dataclass
class Troubled(Shapes):
    """Shapes whose answers take ``seconds`` each; the third one raises or ends the process, if asked to.

    With ``stuck``, the third one takes an hour; but not again, once it has made the file of that name.
    """

    seconds: float = 0.0
    trouble: str = "none"
    stuck: str = ""

    def parse(self, sample, prediction):
        if sys._getframe(1).f_code.co_name == "rescored":  # a stored answer that is checked, not a new one
            return super().parse(sample, prediction)
        time.sleep(self.seconds)
        if sample.id == self.samples()[2].id:
            self._third()
        return super().parse(sample, prediction)

    def _third(self) -> None:
        if self.trouble == "raise":
            raise RuntimeError("out of luck")
        if self.trouble == "exit":
            os._exit(7)
        if self.stuck and not Path(self.stuck).exists():
            Path(self.stuck).touch()
            time.sleep(3600)
