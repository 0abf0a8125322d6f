"""Time our loop as a model of lmms-eval against its own ``llava_hf``, unpruned and wrapped in ``prune()``.

All answer the same questions of the embedded benchmark with the embedded model. The pruned ones must agree,
and so must the unpruned ones. Images are encoded anew in every round. Needs lmms-eval (docs/lmms_eval.md), so
``all.py`` leaves it out.

.venv-lmms/bin/python benchmarks_speed/harness.py [--processor-time]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from lmms_eval.api.instance import Instance
from lmms_eval.models.simple.llava_hf import LlavaHf
from report import command_line, compared, print_cases, write_report

from script_exp.benchmarks.base import Sample
from script_exp.benchmarks.shapes import Shapes
from script_exp.lmms.model import ScriptExp
from script_exp.lmms.wrapped import Wrapped
from script_exp.measure.clock import interleaved
from script_exp.pruners import Script
from script_exp.tiny import WEIGHTS

_SCENES, _QUESTIONS, _BUDGET = 6, 40, 64
_OURS = "ours, script"


class PrunedLlava(Wrapped, LlavaHf):  # type: ignore[misc]  # lmms-eval has no types
    """lmms-eval's LLaVA under ``prune()``."""


def models(device: str) -> dict[str, Any]:
    """Return the contenders; ours take batches of 8, lmms-eval's LLaVA only one question at a time."""
    own = {"pretrained": "embedded", "batch_size": 8, "feature_cache_gib": 0, "device": device}
    theirs = {"pretrained": str(WEIGHTS), "device_map": device, "device": device}
    return {
        _OURS: ScriptExp(**own, pruner="script", budget=_BUDGET),
        "ours, unpruned": ScriptExp(**own),
        "llava_hf, wrapped, script": PrunedLlava(
            Script(budget=_BUDGET), rules={"relevance_sign": 1}, **theirs
        ),
        "llava_hf, unpruned": LlavaHf(**theirs),
    }


def answers(model: Any, samples: Sequence[Sample]) -> list[str]:
    """Return the answers to all questions, in order."""
    model.task_dict["shapes"] = {"test": samples}
    requests = [
        Instance(
            request_type="generate_until",
            arguments=(
                sample.prompt, {"max_new_tokens": 4, "temperature": 0}, visual, number, "shapes", "test"
            ),
            idx=0,
            metadata={"task": "shapes", "doc_id": number, "repeats": 1},
        )
        for number, sample in enumerate(samples)
    ]  # fmt: skip
    return [text.strip() for text in model.generate_until(requests)]


def visual(sample: Sample) -> list[Any]:
    """Return what a task's ``doc_to_visual`` does."""
    return [sample.visual()]


def main(arguments: list[str] | None = None) -> None:
    given = command_line(__doc__, arguments, repeats=5)
    samples = Shapes(scenes=_SCENES, scene_seed=7).samples()[:_QUESTIONS]
    contenders = models(str(given.clock.device))
    said = {name: answers(model, samples) for name, model in contenders.items()}
    for one, other in ((_OURS, "llava_hf, wrapped, script"), ("ours, unpruned", "llava_hf, unpruned")):
        if said[one] != said[other]:
            raise RuntimeError(f"{one} and {other} give different answers")
    calls: dict[str, Callable[[], Any]] = {
        name: partial(answers, model, samples) for name, model in contenders.items()
    }
    times = interleaved(given.clock, calls, warm_up=given.warm_up, repeats=given.repeats)
    case = {"case": f"{len(samples)} questions on {_SCENES} images", **compared(times, _OURS)}
    print_cases(f"lmms-eval ({given.clock_name})", [case], _OURS)
    for name, spread in times.items():
        print(f"{name}: {1000 * len(samples) / spread.median:.1f} samples per second")
    write_report("harness", given, {"cases": [case]})


if __name__ == "__main__":
    main()
