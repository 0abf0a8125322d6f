"""Visual-token pruning for multimodal LLMs: pruners, models, benchmarks and measurements.

To prune a model in your own program, all you need is ``from script_exp import prune`` and
``from script_exp.pruners import Script``. To measure one cell or a sweep, use ``runners/run.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from script_exp.models.plug import prune, select

__all__ = ["__version__", "prune", "select"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import torch only when something that needs it is used, so that ``--help`` stays fast."""
    if name in ("prune", "select"):
        from script_exp.models import plug

        return getattr(plug, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
