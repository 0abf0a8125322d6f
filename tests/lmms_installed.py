"""Import it first in a test module that needs lmms-eval: without it, the module is skipped."""

from __future__ import annotations

import pytest

pytest.importorskip("lmms_eval", reason="lmms-eval has an environment of its own: .ci/lmms_eval makes it")
