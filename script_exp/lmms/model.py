"""Our loader and loop as a model of lmms-eval, which brings the tasks, the prompts and the scores.

lmms-eval --model script_exp --model_args pretrained=llava-hf/llava-1.5-7b-hf,pruner=script,budget=64
    --tasks mmstar,chartqa --batch_size 8
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NoReturn, TypeVar

import torch
from lmms_eval.api.model import lmms

from script_exp.benchmarks.base import Sample
from script_exp.benchmarks.reading.ahead import in_batches
from script_exp.benchmarks.reading.lmms_eval import installed_release, new_tokens, until
from script_exp.cell.answer import Answering, BatchSize
from script_exp.cell.prepared import RunCell
from script_exp.cell.skipped import Skipped
from script_exp.errors import DataError, SettingError, UserError
from script_exp.lmms.arguments import read_arguments
from script_exp.lmms.asked import AskedAboutImages, AskedAboutVideos, sample_of
from script_exp.lmms.loud import loud
from script_exp.terminal.progress import counted

_THREADS = 8
_Thing = TypeVar("_Thing")


class ScriptExp(lmms):  # type: ignore[misc]  # lmms-eval has no types
    """A model of this package with its pruner.

    Attributes:
        device: where lmms-eval gathers the counts of several processes.
    """

    is_simple = True

    def __init__(self, **arguments: Any) -> None:
        """See :func:`script_exp.lmms.arguments.read_arguments`."""
        super().__init__()
        with loud():
            installed_release()
            read = read_arguments(arguments)
            self._question = read.question
            self._cell = RunCell.prepare(read.settings)
            self._model = self._cell.load()

    @property
    def device(self) -> torch.device:
        return self._cell.device

    def loglikelihood(self, requests: Sequence[Any]) -> NoReturn:
        self._refuse("loglikelihood and multiple_choice")

    def generate_until_multi_round(self, requests: Sequence[Any]) -> NoReturn:
        self._refuse("generate_until_multi_round")

    def generate_visual_cot(self, requests: Sequence[Any]) -> NoReturn:
        self._refuse("generate_visual_cot")

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Return the greedy answers in the order of the requests."""
        with loud():
            self._check_types(requests)
            lengths = [new_tokens(request.args[1], request.args[4]) for request in requests]
            samples = self._samples(requests)
            answers: dict[str, str] = {}
            for length in sorted(set(lengths)):
                own = {one.id: one for one, tokens in zip(samples, lengths, strict=True) if tokens == length}
                answers |= self._answers(list(own.values()), length)
            return [
                until(answers[sample.id], request.args[1].get("until"))
                for sample, request in zip(samples, requests, strict=True)
            ]

    def _answers(self, samples: Sequence[Sample], length: int) -> dict[str, str]:
        cell = self._cell
        benchmark = replace(self._asked, max_tokens=length)
        size = BatchSize(cell.settings.batch_size, benchmark.modality)
        skipped = _NoneSkipped(allowed=False)
        batches = in_batches(skipped.askable(self._model, samples), size.value)
        loop = Answering(self._model, benchmark, cell.pruner, cell.features(), skipped, size)
        records = (record for records in loop.answer(batches) for record in records)
        return {one.id: one.prediction for one in self._shown(records, len(samples), cell.name)}

    def _samples(self, requests: Sequence[Any]) -> list[Sample]:
        """Return the requests as samples; an image that cannot be asked about is found before any answer."""
        frames = self._asked.frame_count if isinstance(self._asked, AskedAboutVideos) else None

        def sample(request: Any) -> Sample:
            *_, task, split = request.args
            return self._cell.asking(sample_of(request, self.task_dict[task][split], self._question, frames))

        with ThreadPoolExecutor(_THREADS, thread_name_prefix="look") as threads:
            return list(self._shown(threads.map(sample, requests), len(requests), "images"))

    def _shown(self, things: Iterable[_Thing], total: int, name: str) -> Iterable[_Thing]:
        """Return the things under a progress bar, in one of several processes."""
        return counted(things, total, name) if self.rank == 0 else things

    def _check_types(self, requests: Sequence[Any]) -> None:
        """Refuse tasks of other types: those whose requests come later, and those that ask one by one."""
        types = {request.args[4]: _output_type(request) for request in requests}
        if self.rank == 0:  # which has the first document of every task
            types = dict.fromkeys(self.task_dict, "other") | types
        for task, kind in types.items():
            if kind != "generate_until":
                raise SettingError("--tasks", task, _ONLY)

    def _refuse(self, types: str) -> NoReturn:
        with loud():
            raise UserError(f"tasks of the type {types} are not pruned: expected {_ONLY}")
        raise AssertionError  # loud() has ended the process

    @property
    def _asked(self) -> AskedAboutImages:
        asked = self._cell.benchmark
        if not isinstance(asked, AskedAboutImages):
            raise TypeError(f"the cell has questions of its own: {asked}")
        return asked


_ONLY = "tasks of the type generate_until, about images or one video, with one answer per question"


class _NoneSkipped(Skipped):
    """Every question has to be asked: lmms-eval would score a missing answer as a wrong one."""

    def leave_out(self, sample: Sample, error: DataError) -> None:
        raise UserError(f"{sample.id}: {error}") from error


def _output_type(request: Any) -> str:
    task = getattr(request.args[2], "__self__", None)
    return str(getattr(task, "OUTPUT_TYPE", "generate_until"))
