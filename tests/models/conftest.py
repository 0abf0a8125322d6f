"""One random model of every family."""

from __future__ import annotations

import pytest
from families import CONFIGS, build


@pytest.fixture(scope="module", params=CONFIGS)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def model(family, tmp_path_factory):
    return build(family, tmp_path_factory.mktemp(family))
