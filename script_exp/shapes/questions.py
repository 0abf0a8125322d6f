"""Questions about scenes with one-word answers, balanced so that the text alone barely beats chance."""

from __future__ import annotations

from collections import Counter

import numpy as np

from script_exp.shapes.scenes import GRID, GROUND, IMAGE_SIZE, Scene, make_scene
from script_exp.shapes.sprites import PATCH, SHAPES, SIGN
from script_exp.shapes.world import Asker, Question, World

DENSITIES = ((5, 8), (9, 14), (16, 22))
"""Ranges of the number of objects: sparse, medium and dense scenes, taken in turn."""
NUMBERS = ("zero", "one", "two", "three", "four")
YES_NO = ("no", "yes")
RELATIONS = (("below", "above"), ("right of", "left of"))
"""For rows and columns: the relation of an object further down or right to the other, and the opposite."""
PLURALS = {shape: shape + ("es" if shape == "cross" else "s") for shape in SHAPES}


def _pick(items: list[int], rng: np.random.Generator) -> int:
    return items[int(rng.integers(len(items)))]


def _shapes(scene: Scene) -> list[int]:
    """Return the indices of the objects that are neither signs nor ground."""
    return [index for index, item in enumerate(scene.objects) if item.look.shape not in (SIGN, GROUND)]


def _single(scene: Scene, attribute: str) -> list[int]:
    """Return the indices of the shapes whose color (or shape) is unique, also among signs."""
    count = Counter(getattr(item.look, attribute) for item in scene.objects)
    return [index for index in _shapes(scene) if count[getattr(scene.objects[index].look, attribute)] == 1]


def _signs(scene: Scene) -> list[int]:
    return [index for index, item in enumerate(scene.objects) if item.look.shape == SIGN]


def _color(scene: Scene, rng: np.random.Generator, _: bool) -> Question | None:
    signs = _signs(scene)
    candidates = _single(scene, "shape") + (signs if len(signs) == 1 else [])
    if not candidates:
        return None
    index = _pick(candidates, rng)
    look = scene.objects[index].look
    return Question("color", f"what color is the {look.shape}?", look.color, (index,))


def _shape(scene: Scene, rng: np.random.Generator, _: bool) -> Question | None:
    candidates = _single(scene, "color")
    if not candidates:
        return None
    index = _pick(candidates, rng)
    look = scene.objects[index].look
    return Question("shape", f"what shape is the {look.color} object?", look.shape, (index,))


def _digit(scene: Scene, rng: np.random.Generator, _: bool) -> Question | None:
    signs = _signs(scene)
    if not signs:
        return None
    index = _pick(signs, rng)
    look = scene.objects[index].look
    color = f"{look.color} " if len(signs) > 1 else ""
    return Question("digit", f"what digit is on the {color}sign?", look.written, (index,))


def _where(scene: Scene, rng: np.random.Generator, _: bool) -> Question | None:
    """Ask for an object's quadrant of the full scene; objects near its middle lines are left out."""
    middle = IMAGE_SIZE / 2
    candidates = [
        index
        for index in _single(scene, "color")
        if min(abs(coordinate - middle) for coordinate in scene.objects[index].center) >= PATCH
    ]
    if not candidates:
        return None
    index = _pick(candidates, rng)
    row, column = scene.objects[index].center
    answer = ("north" if row < middle else "south") + ("west" if column < middle else "east")
    return Question("where", f"where is the {scene.objects[index].look.color} object?", answer, (index,))


def _exist(scene: Scene, rng: np.random.Generator, wanted: bool) -> Question | None:
    candidates = _shapes(scene)
    if not candidates:
        return None
    color = scene.objects[_pick(candidates, rng)].look.color if wanted else scene.absent
    found = _of_color(scene, color)
    return Question("exist", f"is there a {color} object?", YES_NO[wanted], found)


def _of_color(scene: Scene, color: str) -> tuple[int, ...]:
    return tuple(index for index, item in enumerate(scene.objects) if item.look.color == color)


def _both(scene: Scene, rng: np.random.Generator, wanted: bool) -> Question | None:
    """Ask about two colors, one of which is absent if the answer is no."""
    colors = sorted({scene.objects[index].look.color for index in _shapes(scene)})
    if len(colors) < 2:
        return None
    first, second = (colors[index] for index in rng.permutation(len(colors))[:2])
    if not wanted:
        first, second = (scene.absent, second) if rng.random() < 0.5 else (first, scene.absent)
    found = _of_color(scene, first) + _of_color(scene, second)
    text = f"are there both a {first} object and a {second} object?"
    return Question("both", text, YES_NO[wanted], found)


def _relation(scene: Scene, rng: np.random.Generator, wanted: bool) -> Question | None:
    """Compare two objects along an axis on which their centers are at least two patches apart."""
    candidates = _single(scene, "color")
    if len(candidates) < 2:
        return None
    first, second = (candidates[index] for index in rng.permutation(len(candidates))[:2])
    axis = int(rng.integers(2))
    gap = scene.objects[first].center[axis] - scene.objects[second].center[axis]
    if abs(gap) < 2 * PATCH:
        return None
    relation = RELATIONS[axis][(gap < 0) == wanted]
    colors = [scene.objects[index].look.color for index in (first, second)]
    text = f"is the {colors[0]} object {relation} the {colors[1]} object?"
    return Question("relation", text, YES_NO[wanted], (first, second))


def _count(scene: Scene, rng: np.random.Generator, _: bool) -> Question | None:
    found = tuple(index for index in _shapes(scene) if scene.objects[index].look.color == scene.planted)
    if not 1 <= len(found) < len(NUMBERS):
        return None
    return Question("count", f"how many {scene.planted} objects are there?", NUMBERS[len(found)], found)


def _ground(scene: Scene, rng: np.random.Generator, _: bool) -> Question | None:
    """Ask for the ground in a corner of the full scene, if the window reaches one."""
    window = scene.window
    end = GRID - window.side
    corners = [
        (vertical, horizontal)
        for vertical, row in (("north", 0), ("south", end))
        for horizontal, column in (("west", 0), ("east", end))
        if (window.top, window.left) == (row, column)
    ]
    if not corners:
        return None
    vertical, horizontal = corners[int(rng.integers(len(corners)))]
    rows, columns = (length // PATCH for length in scene.image.shape[:2])
    row, column = (rows - 1) * (vertical == "south"), (columns - 1) * (horizontal == "east")
    index = int(scene.grounds[row * columns + column])
    return Question(
        "ground",
        f"what is the ground in the {vertical}{horizontal}?",
        scene.objects[index].look.color,
        (index,),
    )


ASKERS: dict[str, Asker] = {
    "color": _color,
    "shape": _shape,
    "digit": _digit,
    "where": _where,
    "exist": _exist,
    "both": _both,
    "count": _count,
    "relation": _relation,
    "ground": _ground,
}
KINDS = ("color", "shape", "digit", "exist", "both", "count", "ground")
"""Kinds in the benchmark. The others are asked only in training; on full scenes they stayed at chance."""
YES_NO_KINDS = ("exist", "both")


FIRST_WORLD = World(make_scene, DENSITIES, ASKERS, KINDS, YES_NO_KINDS)
"""The world of ``benchmark=shapes``, in which the shipped weights were trained."""
ask, held_out = FIRST_WORLD.ask, FIRST_WORLD.held_out
