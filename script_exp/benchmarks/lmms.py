"""Any task of lmms-eval that asks about one image and generates an answer, where lmms-eval is installed.

Data:
    lmms-eval reads it with ``datasets``, from the local cache of the hub; HF_HUB_OFFLINE=0 allows downloads.
Prompt:
    the task's, with the wording that its YAML has for models in general.
Rule:
    the task's. The number is the mean of its scores of one metric; the numbers by lmms-eval's own aggregation
    of each of the task's metrics stand beside it, among those by kind.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from inspect import signature
from typing import Any, ClassVar

from PIL import Image

from script_exp.benchmarks.base import Benchmark, Sample
from script_exp.benchmarks.reading.lmms_eval import (
    as_image,
    installed_release,
    new_tokens,
    only_visual,
    prompt_of,
    until,
    without_prompts,
)
from script_exp.benchmarks.rules.metric import MeanScore, Metric, Scored
from script_exp.errors import SettingError, UserError, unknown_key

log = logging.getLogger(__name__)

_FEW = 32


class TaskScore(MeanScore):
    """The mean score, with the numbers by lmms-eval's own aggregation beside those of the kinds.

    Args:
        task: the task, whose ``process_results`` made the answers.
    """

    def __init__(self, task: Any) -> None:
        self._task = task

    def by_kind(self, answers: Sequence[Scored]) -> dict[str, float]:
        results = [json.loads(answer.answer) for answer in answers]
        numbers = super().by_kind(answers)
        for name, aggregate in self._task.aggregation().items():
            given = [result[name] for result in results if name in result]
            if not given or "args" in signature(aggregate).parameters:  # those write files for a server
                continue
            try:
                number = aggregate(given)
            except (
                Exception
            ) as error:  # code of the task; the answers and their scores are there all the same
                log.warning("lmms-eval cannot aggregate %s of these answers: %r", name, error)
                continue
            if isinstance(number, int | float):
                numbers[f"lmms-eval {name}"] = float(number)
        return numbers


@dataclass(kw_only=True)
class LmmsTask(Benchmark):
    """A task of lmms-eval.

    Attributes:
        task: its name, as ``lmms-eval tasks`` lists it; not a group.
        score_of: the metric whose scores are averaged; None for the first that scores every answer.
        include_path: folder with further tasks.
        protocol_version: release of lmms-eval, part of a run's identity; None for the installed one.
    """

    task: str | None = None
    score_of: str | None = None
    include_path: str | None = None
    protocol_version: str | None = None

    name: ClassVar[str] = "lmms"
    prompt_version: ClassVar[int] = 1

    def in_full(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Name the installed release of lmms-eval and the metric.

        Raises:
            UserError: if lmms-eval is missing or of another release, or the task does not exist or fit.
        """
        return dict(settings) | {"protocol_version": self._installed(), "score_of": self._score_of}

    @property
    def max_new_tokens(self) -> int:
        return new_tokens(self._task.config.generation_kwargs or {}, str(self.task))

    @property
    def metric(self) -> Metric:
        return TaskScore(self._task)

    def samples(self) -> Sequence[Sample]:
        return self._samples

    def released_query(self, sample: Sample) -> str:
        return str(sample.extra["released"])

    def parse(self, sample: Sample, prediction: str) -> str:
        """Return what the task's metrics are aggregated from, as JSON."""
        text = until(prediction, (self._task.config.generation_kwargs or {}).get("until"))
        document = copy.deepcopy(self._task.eval_docs_no_media[int(sample.id)])
        return json.dumps(self._task.process_results(document, [text]), sort_keys=True, default=str)

    def score(self, sample: Sample, answer: str) -> float:
        value = _score(json.loads(answer).get(self._score_of))
        if value is None or not 0 <= value <= 1:
            raise SettingError(
                "benchmark.score_of",
                self._score_of,
                f"a metric that scores every answer from 0 to 1; {sample.id} has {answer}",
            )
        return value

    @cached_property
    def _samples(self) -> list[Sample]:
        self.max_new_tokens  # noqa: B018 - refuses a task that samples
        task, documents = self._task, self._task.eval_docs
        units = _units(documents)
        samples = []
        for number, document in enumerate(self._task.eval_docs_no_media):
            text = prompt_of(str(task.doc_to_text(document)))
            bare, released = without_prompts(text, task)
            samples.append(
                Sample(
                    id=str(number),
                    visual=partial(_image, task, documents, number),
                    question=bare,
                    prompt=text,
                    references=(str(task.doc_to_target(document)),),
                    kind=str(self.task),
                    unit=units[number],
                    extra={"released": released},
                )
            )
        return samples

    @cached_property
    def _score_of(self) -> str:
        """The metric, taken from what the task gives empty answers to a few of its questions."""
        documents = self._task.eval_docs_no_media
        few = range(0, len(documents), max(1, len(documents) // _FEW))
        results = [self._task.process_results(copy.deepcopy(documents[place]), [""]) for place in few]
        scoring = [
            name
            for name in self._task.aggregation()
            if all(_score(result.get(name)) is not None for result in results)
        ]
        if self.score_of is None and scoring:
            return str(scoring[0])
        if self.score_of is None or self.score_of not in scoring:
            expected = (
                f"one of {', '.join(scoring)}" if scoring else f"another task: {self.task} has no scores"
            )
            raise SettingError("benchmark.score_of", self.score_of, expected)
        return self.score_of

    def _installed(self) -> str:
        release = installed_release()
        if self.protocol_version not in (None, release):
            expected = f"{release}, which is installed, or null"
            raise SettingError("benchmark.protocol_version", self.protocol_version, expected)
        return release

    @cached_property
    def _task(self) -> Any:
        self._installed()
        from lmms_eval.tasks import TaskManager  # takes seconds
        from loguru import logger

        logger.disable("lmms_eval")
        manager = TaskManager("ERROR", include_path=self.include_path)
        if self.task not in manager.all_subtasks:
            raise _unknown(self.task, manager)
        try:
            (task,) = manager.load_task_or_group(self.task, task_type="simple").values()
        except Exception as error:  # lmms-eval runs code of the task, which may raise anything
            why = str(error.__cause__ or error).splitlines() or [type(error).__name__]
            raise SettingError(
                "benchmark.task",
                self.task,
                f"a task that lmms-eval loads ({why[0]}); HF_HUB_OFFLINE=0 allows to download its data",
            ) from error
        if task.OUTPUT_TYPE != "generate_until":
            expected = f"one of the type generate_until; it is of the type {task.OUTPUT_TYPE}"
            raise SettingError("benchmark.task", self.task, expected)
        return task


def _unknown(task: str | None, manager: Any) -> UserError:
    """Return the error for a name that is no task, with the nearest names."""
    if task in manager.all_tasks:
        return SettingError("benchmark.task", task, "a single task; it is a group or a tag of several")
    if task is None:
        return SettingError("benchmark.task", "null", "a task of lmms-eval, such as mmstar")
    named = unknown_key("benchmark.task", task, manager.all_subtasks)
    hint = named.expected.rpartition(" (")[2].rstrip(")") if named.expected.endswith(")") else ""
    return SettingError("benchmark.task", task, f"a task of lmms-eval{f'; {hint}' if hint else ''}")


def _score(value: Any) -> float | None:
    """Return the score in what a task says of one answer; None if there is none."""
    if isinstance(value, dict):
        value = value.get("score")
    return float(value) if isinstance(value, int | float) else None


def _image(task: Any, documents: Any, number: int) -> Image.Image:
    name = f"{task.config.task} {number}"
    return as_image(only_visual(task.doc_to_visual, documents, number, name), name)


def _units(documents: Any) -> list[str]:
    """Return a name for the image of each document, which documents with the same files share."""
    from datasets import Image as ImageColumn

    columns = [name for name, kind in documents.features.items() if isinstance(kind, ImageColumn)]
    if not columns:
        return [str(number) for number in range(len(documents))]
    for name in columns:
        documents = documents.cast_column(name, ImageColumn(decode=False))
    units = []
    for document in documents.select_columns(columns):
        digest = hashlib.blake2b(digest_size=16)
        for image in document.values():
            digest.update((image or {}).get("bytes") or str(image).encode())
        units.append(digest.hexdigest())
    return units
