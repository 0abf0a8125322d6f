"""Import it first in a test module that needs lmms-eval: without it, the module is skipped."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

if find_spec("lmms_eval") is None:  # importing it takes half a minute
    pytest.skip("lmms-eval has an environment of its own: .ci/lmms_eval makes it", allow_module_level=True)
