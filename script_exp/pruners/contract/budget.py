"""The budget of every method: visual tokens kept per crop."""

from __future__ import annotations

import math
from numbers import Real

from script_exp.errors import LARGEST, SettingError

_EXPECTED = "a whole number of visual tokens >= 1, or a share in (0, 1)"


def check_budget(budget: object) -> int | float:
    """Return ``budget`` if it is a token count (int >= 1) or a share of the tokens (float in (0, 1)).

    Raises:
        SettingError: for anything else, including booleans and text.
    """
    if isinstance(budget, bool) or not isinstance(budget, Real):
        raise SettingError("budget", budget, _EXPECTED)
    if isinstance(budget, int):
        if not 1 <= budget <= LARGEST:
            raise SettingError("budget", budget, _EXPECTED)
        return budget
    share = float(budget)
    if not math.isfinite(share) or not 0 < share < 1:
        raise SettingError("budget", budget, _EXPECTED)
    return share


def grid_within(budget: int | float, grid: tuple[int, int]) -> tuple[int, int]:
    """Return the grid (h, w) of at most ``budget`` tokens that a grid of R x C tokens is shrunk to.

    For k tokens and s = sqrt(k / (R C)), h = floor(s R) and w = ceil(s C), or floor(k / h) if that is less,
    so that h / w is near R / C; both are at least 1. A budget of R C tokens or more leaves the grid as it is.
    """
    rows, columns = grid
    tokens = rows * columns
    k = min(tokens_kept(min(budget, tokens), tokens), tokens)
    height = max(1, min(k, math.isqrt(k * rows // columns)))
    width = math.isqrt(k * columns // rows)
    width += width**2 * rows < k * columns  # rounded up
    return height, min(width, k // height)


def tokens_kept(budget: int | float, tokens: int) -> int:
    """Return how many of a crop's ``tokens`` the ``budget`` keeps; a share is rounded, to at least one token.

    Raises:
        SettingError: if the budget exceeds ``tokens``.
    """
    if isinstance(budget, float):
        return max(1, round(budget * tokens))
    if budget > tokens:
        raise SettingError("budget", budget, f"at most {tokens}, the number of visual tokens of one crop")
    return budget
