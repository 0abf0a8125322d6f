"""The three pools of training windows: their number, side in patches and range of object counts."""

from __future__ import annotations

from dataclasses import dataclass

from script_exp.training.naming import SECOND_NAMING
from script_exp.training.windows import Pool, render_pool


@dataclass(frozen=True)
class PoolSizes:
    """Numbers of 6 x 6, 12 x 12 and 24 x 24 patch windows; full scenes span the benchmark's densities."""

    small: int = 20_000
    middle: int = 16_000
    full: int = 4_000


def render_pools(seed: int, sizes: PoolSizes) -> tuple[Pool, Pool, Pool]:
    """Render all pools; the default sizes take about 80 seconds on one core."""
    return (
        render_pool(seed, sizes.small, 6, (1, 2)),
        render_pool(seed, sizes.middle, 12, (2, 7)),
        render_pool(seed, sizes.full, 24, (5, 22)),
    )


def render_second_pools(seed: int, sizes: PoolSizes) -> tuple[Pool, Pool, Pool]:
    """Render all pools of the second world; the default sizes take about three minutes on one core."""
    return (
        render_pool(seed, sizes.small, 6, (1, 3), SECOND_NAMING),
        render_pool(seed, sizes.middle, 12, (3, 8), SECOND_NAMING),
        render_pool(seed, sizes.full, 24, (10, 22), SECOND_NAMING),
    )
