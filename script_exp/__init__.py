"""Visual-token pruning for multimodal LLMs: pruners, models, benchmarks and measurements.

To prune a model in your own program, all you need is ``from script_exp import prune`` and
``from script_exp.pruners import Script``. To measure one cell or a sweep, use ``runners/run.py``.
"""

import lazy_loader

# torch is imported only when something that needs it is used, so that --help stays fast.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"
