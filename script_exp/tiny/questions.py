"""Questions about scenes, with one-word answers balanced so that the text alone is worth little more than
chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from script_exp.tiny.scenes import GRID, GROUND, Scene, make_scene
from script_exp.tiny.sprites import PATCH, SHAPES, SIGN

DENSITIES = ((5, 8), (9, 14), (16, 22))
"""Ranges of the number of objects: sparse, medium and dense scenes, taken in turn."""
NUMBERS = ("zero", "one", "two", "three", "four")
YES_NO = ("no", "yes")
PLURALS = {shape: shape + ("es" if shape == "cross" else "s") for shape in SHAPES}


@dataclass(frozen=True)
class Question:
    """A question, its one-word answer, and the objects of the scene that have to be seen to answer it."""

    kind: str
    text: str
    answer: str
    objects: tuple[int, ...]
    """Indices into `Scene.objects`; empty where the right answer is that nothing of the kind is there."""


Asker = Callable[[Scene, np.random.Generator, bool], Question | None]
"""(scene, generator, wanted answer of a yes-no question) -> a question, or None where the scene allows
none."""


def _pick(items: list[int], rng: np.random.Generator) -> int:
    return items[int(rng.integers(len(items)))]


def _shapes(scene: Scene) -> list[int]:
    """Indices of the objects that are neither signs nor ground."""
    return [index for index, item in enumerate(scene.objects) if item.look.shape not in (SIGN, GROUND)]


def _single_colors(scene: Scene) -> list[int]:
    """Indices of the shapes whose color occurs once, signs included in the counting."""
    count = Counter(item.look.color for item in scene.objects)
    return [index for index in _shapes(scene) if count[scene.objects[index].look.color] == 1]


def _color(scene: Scene, rng: np.random.Generator, _: bool) -> Question | None:
    signs = [index for index, item in enumerate(scene.objects) if item.look.shape == SIGN]
    if len(signs) != 1:
        return None
    return Question("color", "what color is the sign?", scene.objects[signs[0]].look.color, (signs[0],))


def _shape(scene: Scene, rng: np.random.Generator, _: bool) -> Question | None:
    candidates = _single_colors(scene)
    if not candidates:
        return None
    index = _pick(candidates, rng)
    look = scene.objects[index].look
    return Question("shape", f"what shape is the {look.color} object?", look.shape, (index,))


def _exist(scene: Scene, rng: np.random.Generator, wanted: bool) -> Question | None:
    candidates = _shapes(scene)
    if not candidates:
        return None
    color = scene.objects[_pick(candidates, rng)].look.color if wanted else scene.absent
    found = tuple(index for index, item in enumerate(scene.objects) if item.look.color == color)
    return Question("exist", f"is there a {color} object?", YES_NO[wanted], found)


def _count(scene: Scene, rng: np.random.Generator, _: bool) -> Question | None:
    found = tuple(index for index in _shapes(scene) if scene.objects[index].look.color == scene.planted)
    if not 1 <= len(found) < len(NUMBERS):
        return None
    return Question("count", f"how many {scene.planted} objects are there?", NUMBERS[len(found)], found)


def _ground(scene: Scene, rng: np.random.Generator, _: bool) -> Question | None:
    """The ground in a corner of the full scene, where the window reaches one."""
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
    row, column = (window.side - 1) * (vertical == "south"), (window.side - 1) * (horizontal == "east")
    index = int(scene.grounds[row * window.side + column])
    return Question(
        "ground",
        f"what is the ground in the {vertical}{horizontal}?",
        scene.objects[index].look.color,
        (index,),
    )


ASKERS: dict[str, Asker] = {
    "color": _color,
    "shape": _shape,
    "exist": _exist,
    "count": _count,
    "ground": _ground,
}
KINDS = tuple(ASKERS)
YES_NO_KINDS = ("exist",)


def ask(scene: Scene, kind: str, rng: np.random.Generator, wanted: bool | None = None) -> Question | None:
    """One question of a kind, or None where the scene allows none; `wanted` fixes the answer of a yes-no
    question."""
    return ASKERS[kind](scene, rng, bool(rng.random() < 0.5) if wanted is None else wanted)


def held_out(seed: int, scenes: int) -> Iterator[tuple[Scene, list[Question]]]:
    """Full scenes of every density in turn, each with one question of every kind it allows; fixed by the
    seed.

    Yes and no alternate, so both come equally often (to within one).
    """
    rng = np.random.default_rng([seed, GRID, PATCH])
    wanted = dict.fromkeys(YES_NO_KINDS, True)
    for number in range(scenes):
        low, high = DENSITIES[number % len(DENSITIES)]
        scene = make_scene(rng, int(rng.integers(low, high + 1)))
        questions = []
        for kind in KINDS:
            question = ask(scene, kind, rng, wanted.get(kind))
            if question is None:
                continue
            questions.append(question)
            if kind in wanted:
                wanted[kind] = not wanted[kind]
        yield scene, questions
