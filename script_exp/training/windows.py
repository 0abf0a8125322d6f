"""Rendered training windows, and what image-level supervision knows about them: looks, never places."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from script_exp.shapes.questions import Question, ask
from script_exp.shapes.scenes import GRID, GROUND, Look, Scene, Window, make_scene
from script_exp.shapes.sprites import COLORS, DIGITS, GROUNDS, SHAPES, SIGN

_NO_MASK = np.zeros(0, np.float32)
_PATTERNS = (
    [Look(shape, color) for shape in (*SHAPES, SIGN) for color in COLORS]
    + [Look(shape, "") for shape in (*SHAPES, SIGN)]
    + [Look("", color) for color in COLORS]
    + [Look(SIGN, "", digit) for digit in DIGITS]
    + [Look(GROUND, name) for name in GROUNDS]
)
"""Everything that a text can name; an empty field matches anything."""
PATTERN_IDS = {pattern: index for index, pattern in enumerate(_PATTERNS)}
_SINGULAR = (
    {shape: shape for shape in (*SHAPES, SIGN)}
    | {shape + "s": shape for shape in SHAPES}
    | {"crosses": "cross"}
)


@dataclass(frozen=True)
class Pool:
    """Windows of one size.

    Attributes:
        images: (windows, 8 * side, 8 * side, 3) uint8.
        scenes: the scenes, without coverage masks.
        shown: (windows, patterns) bool: whether the window shows something that fits the pattern.
        side: patches along one side.
    """

    images: np.ndarray
    scenes: list[Scene]
    shown: np.ndarray
    side: int


def _random_window(side: int, rng: np.random.Generator) -> Window:
    """Draw a window of the full scene, half of the time in a corner so that questions can ask about it."""
    end = GRID - side
    if rng.random() < 0.5:
        return Window(side, end * int(rng.integers(2)), end * int(rng.integers(2)))
    return Window(side, int(rng.integers(end + 1)), int(rng.integers(end + 1)))


def patterns_of(look: Look) -> list[int]:
    """Return the ids of all patterns that a look fits."""
    if look.shape == GROUND:
        return [PATTERN_IDS[look]]
    fitting = [Look(look.shape, look.color), Look(look.shape, ""), Look("", look.color)]
    if look.digit:
        fitting.append(Look(SIGN, "", look.digit))
    return [PATTERN_IDS[pattern] for pattern in fitting]


def render_pool(seed: int, windows: int, side: int, objects: tuple[int, int]) -> Pool:
    """Render windows of ``side`` x ``side`` patches, with an object count from an inclusive range."""
    rng = np.random.default_rng([seed, side])
    images = np.empty((windows, 8 * side, 8 * side, 3), np.uint8)
    shown = np.zeros((windows, len(PATTERN_IDS)), bool)
    scenes = []
    for number in range(windows):
        scene = make_scene(rng, int(rng.integers(objects[0], objects[1] + 1)), _random_window(side, rng))
        images[number] = scene.image
        for item in scene.objects:
            shown[number, patterns_of(item.look)] = True
        unmasked = [replace(item, coverage=_NO_MASK) for item in scene.objects]
        scenes.append(replace(scene, image=images[number], objects=unmasked))
    return Pool(images, scenes, shown, side)


def phrase(pattern: Look) -> str:
    """Return the shortest text that names a pattern."""
    if pattern.shape == GROUND:
        return f"{pattern.color} ground"
    if pattern.digit:
        return f"a sign with {pattern.digit}"
    return " ".join(["a", *([pattern.color] if pattern.color else []), pattern.shape or "object"])


def named_patterns(text: str) -> list[int]:
    """Return the ids of the patterns that a question names, from its words alone."""
    words = text.rstrip("?").split()
    found = []
    for index, word in enumerate(words):
        color = words[index - 1] if index and words[index - 1] in COLORS else ""
        if word in _SINGULAR:
            found.append(PATTERN_IDS[Look(_SINGULAR[word], color)])
        elif word in ("object", "objects"):
            found.append(PATTERN_IDS[Look("", color)])
    return found


def phrases() -> list[tuple[str, list[int]]]:
    """Return the phrase of every pattern with its id."""
    return [(phrase(pattern), [index]) for pattern, index in PATTERN_IDS.items()]


def caption(scene: Scene, rng: np.random.Generator, most: int = 4) -> str:
    """Describe up to ``most`` objects of a scene, in random order, and one ground."""
    things = [item.look for item in scene.objects if item.look.shape != GROUND]
    grounds = [item.look for item in scene.objects if item.look.shape == GROUND]
    chosen = [things[index] for index in rng.permutation(len(things))[:most]]
    parts = [
        f"a {look.color} {look.shape}" + (f" with {look.digit}" if look.digit else "") for look in chosen
    ]
    return " and ".join(parts) + f" on {grounds[int(rng.integers(len(grounds)))].color}"


def ask_many(scene: Scene, kinds: list[str], rng: np.random.Generator, yes: float = 0.5) -> list[Question]:
    """Ask one question of each of ``kinds`` that the scene allows; ``yes`` is the chance of that answer."""
    asked = (ask(scene, kind, rng, bool(rng.random() < yes)) for kind in kinds)
    return [question for question in asked if question is not None]
