"""One random model of every family."""

from __future__ import annotations

from functools import cache

import pytest
from families import CONFIGS, build, encoded_rows, visuals


@pytest.fixture(scope="module", params=CONFIGS)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def model(family, tmp_path_factory):
    return build(family, tmp_path_factory.mktemp(family))


@pytest.fixture(scope="module")
def encoded(model, family):
    """The pictures of some numbers, encoded once for all methods that read the same of them."""
    return cache(
        lambda numbers, reads: encoded_rows(model, [(visuals(family)[one], one) for one in numbers], reads)
    )
