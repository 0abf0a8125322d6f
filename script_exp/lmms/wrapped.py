"""Prune a model of lmms-eval's own, for families that only lmms-eval loads; slower than our loop.

class PrunedLlava(Wrapped, LlavaHf):
    pass

model = PrunedLlava(Script(budget=64), pretrained=..., device_map="cuda:0")
simple_evaluate(model=model, tasks=["mmstar"])
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, NoReturn

from script_exp.benchmarks.reading.lmms_eval import prompt_of, without_prompts
from script_exp.errors import UserError
from script_exp.lmms.loud import loud
from script_exp.models.plug import prune
from script_exp.pruners import LayerPruner, Pruner


class Wrapped:
    """Goes before a model of lmms-eval that answers one question at a time by ``self.model.generate``.

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
        self._asked = ("", "")
        self._open = ExitStack()
        with loud():
            self._open.enter_context(
                prune(
                    self.model,
                    getattr(self, processor),
                    pruner,
                    clip=clip,
                    questions=lambda ids: [self._asked[0]],
                    keys=lambda ids: [self._asked[1]],
                    **rules or {},
                )
            )
        pruned = self.model.generate

        def generate(*given: Any, **named: Any) -> Any:
            with loud():
                return pruned(*given, **named)

        self.model.generate = generate

    def generate_until(self, requests: Sequence[Any]) -> list[Any]:
        """Answer one by one, so that each question is known to the pruner."""
        answers = []
        for request in requests:
            context, *_, number, task, split = request.args
            callable_of_task = next(value for value in request.args if callable(value))
            bare, _ = without_prompts(prompt_of(context), getattr(callable_of_task, "__self__", None))
            self._asked = bare, f"{task}/{split}/{number}"
            answers += super().generate_until([request])  # type: ignore[misc]  # of the other base
        return answers

    def loglikelihood(self, requests: Sequence[Any]) -> NoReturn:
        with loud():
            raise UserError("tasks of the type loglikelihood and multiple_choice are not pruned")
        raise AssertionError  # loud() has ended the process
