"""The pruning methods, one file each. CONTRIBUTING.md tells how to add one.

``__init__.pyi`` lists what the package exports. A name's file is imported when the name is first used, so
that a budget can be checked without torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
