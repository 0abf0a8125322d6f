"""Samples that cannot be asked: a text or an image that the model does not take."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial

from script_exp.benchmarks.base import Sample
from script_exp.errors import DataError, UserError
from script_exp.models.prunable import PrunableModel


@dataclass
class Skipped:
    """Samples that are left out, with the reasons.

    Attributes:
        allowed: whether samples may be left out at all.
        reasons: reasons by sample id.
    """

    allowed: bool
    reasons: dict[str, str] = field(default_factory=dict)

    def leave_out(self, sample: Sample, error: DataError) -> None:
        """Record a sample that cannot be asked.

        Raises:
            UserError: if samples may not be left out.
        """
        if not self.allowed:
            raise UserError(f"sample {sample.id}: {error}; benchmark.on_error=skip leaves it out") from error
        self.reasons[sample.id] = str(error)

    def askable(self, model: PrunableModel, samples: Iterable[Sample]) -> list[Sample]:
        """Return the samples whose texts the model takes; their images are not loaded."""
        good = []
        for sample in samples:
            try:
                model.processing.check_text(sample.prompt, model.model.config)
            except DataError as error:
                self.leave_out(sample, error)
            else:
                good.append(sample)
        return good

    def loaded(self, model: PrunableModel, samples: Iterable[Sample]) -> list[Sample]:
        """Return the samples that the model takes, with their images in memory."""
        good = []
        for sample in self.askable(model, samples):
            try:
                held = replace(sample, visual=partial(_same, sample.visual()))
                model.process(*held.visuals())
            except DataError as error:
                self.leave_out(sample, error)
            else:
                good.append(held)
        return good


def _same(loaded: object) -> object:
    return loaded
