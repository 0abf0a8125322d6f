"""Prune a model of lmms-eval's own, for families that only lmms-eval loads; slower than our loop.

class PrunedLlava(Wrapped, LlavaHf):
    pass

model = PrunedLlava(Script(budget=64), pretrained=..., device="cuda:0", device_map="cuda:0")
simple_evaluate(model=model, tasks=["mmstar"])
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, NoReturn

from script_exp.benchmarks.reading.lmms_eval import prompt_of, without_prompts
from script_exp.errors import UserError
from script_exp.lmms.loud import loud
from script_exp.models.plug import prune
from script_exp.pruners import LayerPruner, Pruner


class Wrapped:
    """Goes before a model of lmms-eval that asks for its documents and then calls ``self.model.generate``.

    Args:
        pruner: the method with its budget.
        processor: name of the attribute with the processor; ``_image_processor`` in ``llava_hf``.
        clip: as for :func:`script_exp.prune`.
        rules: as for :func:`script_exp.prune`.
        arguments: those of the model.
    """

    model: Any

    def __init__(
        self,
        pruner: Pruner | LayerPruner,
        *,
        processor: str = "_image_processor",
        clip: str | None = None,
        rules: dict[str, Any] | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self._asked: list[tuple[str, str]] = []  # question and name of each row of the next call
        self._open = ExitStack()
        with loud():
            self._open.enter_context(
                prune(
                    self.model,
                    getattr(self, processor),
                    pruner,
                    clip=clip,
                    questions=lambda ids: [question for question, _ in self._asked],
                    keys=lambda ids: [name for _, name in self._asked],
                    **rules or {},
                )
            )
        pruned = self.model.generate

        def generate(*given: Any, **named: Any) -> Any:
            with loud():
                try:
                    return pruned(*given, **named)
                finally:
                    self._asked.clear()

        self.model.generate = generate

    def generate_until(self, requests: Sequence[Any]) -> list[Any]:
        """Answer as the model does, and note each question when its document is asked for."""
        noted: list[Any] = super().generate_until([self._noting(one) for one in requests])  # type: ignore[misc]
        return noted

    def _noting(self, request: Any) -> Any:
        context, *_, number, task, split = request.args
        (place,) = (place for place, value in enumerate(request.args) if callable(value))
        inner = request.args[place]
        bare, _ = without_prompts(prompt_of(context), getattr(inner, "__self__", None))

        def noting(*given: Any, **named: Any) -> Any:
            self._asked.append((bare, f"{task}/{split}/{number}"))
            return inner(*given, **named)

        return replace(request, arguments=(*request.args[:place], noting, *request.args[place + 1 :]))

    def loglikelihood(self, requests: Sequence[Any]) -> NoReturn:
        with loud():
            raise UserError("tasks of the type loglikelihood and multiple_choice are not pruned")
        raise AssertionError  # loud() has ended the process
