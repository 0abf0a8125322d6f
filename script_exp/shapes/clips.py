"""Clips of the world from a seed: what stands, moves, comes and goes, and what is there for a single frame.

A clip has one shot, or two with other ground, clutter and extras (a cut). In each shot some shapes stand
still, some move by a patch from frame to frame, and some come and go. Guests are shown in one frame only, and
they are what questions are about (:mod:`script_exp.shapes.clip_questions`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from script_exp.shapes.scenes import (
    CELL,
    GRID,
    MAX_COUNT,
    Look,
    paint_grounds,
    paint_object,
    scatter_clutter,
)
from script_exp.shapes.sprites import COLORS, SHAPES

FEWEST_FRAMES = MAX_COUNT
"""Each of the guests that are counted has a frame of its own."""
MOST_FRAMES = 16
"""What moves by a patch in each frame stays in the picture."""

_STANDING, _MOVING, _PASSING = (4, 7), (2, 3), (1, 3)  # extras of a shot: inclusive ranges of their numbers
_DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))
_STILL = (0, 0)
_CORNERS = GRID - CELL + 1  # places of an object's cell along one side


@dataclass(frozen=True)
class Actor:
    """A shape in a clip.

    Attributes:
        look: its shape and color.
        corners: (row, column) of its cell's top-left patch, by the frames that show it.
        seed: of its size, its shade and its place within the cell, which are the same in every frame.
    """

    look: Look
    corners: Mapping[int, tuple[int, int]]
    seed: int


@dataclass(frozen=True)
class Clip:
    """A planned clip; :meth:`paint` makes its pixels.

    Attributes:
        length: T, its frames.
        actors: the guests first, then the extras of each shot.
        moment: index of the guest whose shape nothing else in the clip has.
        counted: indices of the one to four guests of one color that nothing else has, each in its own frame.
        ordered: indices of two guests whose colors nothing else has, the earlier one first.
        cut: first frame of the second shot; None if there is one shot.
        seed: of grounds, clutter and noise.
    """

    length: int
    actors: tuple[Actor, ...]
    moment: int
    counted: tuple[int, ...]
    ordered: tuple[int, int]
    cut: int | None
    seed: tuple[int, ...]

    def paint(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the frames and what of them each actor covers.

        Returns:
            frames (T, 192, 192, 3) uint8, and coverage (actors, T, 24, 24) float32 in [0, 1]: the share of
            each patch's pixels that the actor covers in each frame.
        """
        rng = np.random.default_rng(self.seed)
        coverage = np.zeros((len(self.actors), self.length, GRID, GRID), np.float32)
        frames = []
        for first, end in shots(self.length, self.cut):
            ground, _, _ = paint_grounds(GRID, rng)
            scatter_clutter(ground, np.ones((GRID, GRID), bool), GRID, rng)
            for frame in range(first, end):
                pixels = ground + 3 * rng.standard_normal(ground.shape, np.float32)
                for index, actor in enumerate(self.actors):
                    if frame in actor.corners:
                        own = np.random.default_rng(actor.seed)
                        painted = paint_object(pixels, actor.look, actor.corners[frame], own)
                        coverage[index, frame] = painted.coverage.reshape(GRID, GRID)
                frames.append(np.clip(pixels, 0, 255).astype(np.uint8))
        return np.stack(frames), coverage


def shots(length: int, cut: int | None) -> list[tuple[int, int]]:
    """Return the (first, end) frames of each shot."""
    return [(0, length)] if cut is None else [(0, cut), (cut, length)]


class _Stage:
    """Finds places that are free in every frame in which an actor is shown."""

    def __init__(self, length: int, rng: np.random.Generator) -> None:
        self._free = np.ones((length, _CORNERS, _CORNERS), bool)  # by the top-left patch of a cell
        self._rng = rng
        self.actors: list[Actor] = []

    def place(self, look: Look, frames: range, step: tuple[int, int] = _STILL) -> None:
        """Add an actor who moves by ``step`` from frame to frame; none if no place is free for it."""
        rows, columns = np.indices((_CORNERS, _CORNERS))
        free = np.ones((_CORNERS, _CORNERS), bool)
        for passed, frame in enumerate(frames):
            at = rows + passed * step[0], columns + passed * step[1]
            near = tuple(np.clip(where, 0, _CORNERS - 1) for where in at)
            free &= (near[0] == at[0]) & (near[1] == at[1]) & self._free[frame][near]
        corners = np.argwhere(free)
        if not len(corners):
            return
        row, column = (int(value) for value in corners[self._rng.integers(len(corners))])
        shown = {
            frame: (row + passed * step[0], column + passed * step[1]) for passed, frame in enumerate(frames)
        }
        for frame, (top, left) in shown.items():
            around = slice(max(0, top - CELL + 1), top + CELL), slice(max(0, left - CELL + 1), left + CELL)
            self._free[frame][around] = False
        self.actors.append(Actor(look, shown, int(self._rng.integers(2**31))))


def plan_clip(seed: int, number: int, length: int) -> Clip:
    """Plan the clip of a number; every second one has a cut.

    Args:
        seed: seed of all clips.
        number: its number among them.
        length: frames, from :data:`FEWEST_FRAMES` to :data:`MOST_FRAMES`.
    """
    rng = np.random.default_rng([seed, number, length])
    colors = [list(COLORS)[index] for index in rng.permutation(len(COLORS))]
    shapes = [SHAPES[index] for index in rng.permutation(len(SHAPES))]
    others = shapes[1:]
    cut = int(rng.integers(2, length - 1)) if number % 2 else None
    stage = _Stage(length, rng)

    def guest(look: Look, frame: int) -> None:
        stage.place(look, range(frame, frame + 1))

    guest(Look(shapes[0], colors[3]), int(rng.integers(length)))
    many = int(rng.integers(1, MAX_COUNT + 1))
    for frame in rng.permutation(length)[:many].tolist():
        guest(Look(others[rng.integers(len(others))], colors[0]), frame)
    for color, frame in zip(colors[1:3], sorted(rng.permutation(length)[:2].tolist()), strict=True):
        guest(Look(others[rng.integers(len(others))], color), frame)
    for first, end in shots(length, cut):
        _add_extras(stage, range(first, end), others, colors[3:], rng)
    return Clip(
        length,
        tuple(stage.actors),
        0,
        tuple(range(1, 1 + many)),
        (1 + many, 2 + many),
        cut,
        (seed, number, length, 1),
    )


def _add_extras(
    stage: _Stage, shot: range, shapes: list[str], colors: list[str], rng: np.random.Generator
) -> None:
    def look() -> Look:
        return Look(shapes[rng.integers(len(shapes))], colors[rng.integers(len(colors))])

    for _ in range(rng.integers(_MOVING[0], _MOVING[1] + 1)):
        stage.place(look(), shot, _DIRECTIONS[rng.integers(len(_DIRECTIONS))])
    for _ in range(rng.integers(_STANDING[0], _STANDING[1] + 1)):
        stage.place(look(), shot)
    for _ in range(rng.integers(_PASSING[0], _PASSING[1] + 1)):
        first, last = sorted(int(value) for value in rng.integers(shot.start, shot.stop, 2))
        stage.place(look(), range(first, last + 1))
