"""Rendered training windows, and what image-level supervision knows about them: looks, never places."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from script_exp.shapes.questions import FIRST_WORLD
from script_exp.shapes.scenes import GRID, GROUND, Scene, Window
from script_exp.shapes.world import Question, World
from script_exp.training.naming import FIRST_NAMING, Naming

_NO_MASK = np.zeros(0, np.float32)


@dataclass(frozen=True)
class Pool:
    """Windows of one size.

    Attributes:
        images: (windows, 8 * side, 8 * side, 3) uint8.
        scenes: the scenes, without coverage masks.
        shown: (windows, patterns) bool: whether the window shows something that fits the pattern.
        side: patches along one side.
        naming: their world, and what texts can name in it.
    """

    images: np.ndarray
    scenes: list[Scene]
    shown: np.ndarray
    side: int
    naming: Naming


def random_window(side: int, rng: np.random.Generator) -> Window:
    """Draw a window of the full scene, half of the time in a corner so that questions can ask about it."""
    end = GRID - side
    if rng.random() < 0.5:
        return Window(side, end * int(rng.integers(2)), end * int(rng.integers(2)))
    return Window(side, int(rng.integers(end + 1)), int(rng.integers(end + 1)))


def render_pool(
    seed: int, windows: int, side: int, objects: tuple[int, int], naming: Naming = FIRST_NAMING
) -> Pool:
    """Render windows of ``side`` x ``side`` patches, with an object count from an inclusive range."""
    rng = np.random.default_rng([seed, side])
    images = np.empty((windows, 8 * side, 8 * side, 3), np.uint8)
    shown = np.zeros((windows, len(naming.patterns)), bool)
    scenes = []
    for number in range(windows):
        scene = naming.world.render(
            rng, int(rng.integers(objects[0], objects[1] + 1)), random_window(side, rng)
        )
        images[number] = scene.image
        for item in scene.objects:
            shown[number, naming.fitting(item.look)] = True
        unmasked = [replace(item, coverage=_NO_MASK) for item in scene.objects]
        scenes.append(replace(scene, image=images[number], objects=unmasked))
    return Pool(images, scenes, shown, side, naming)


def caption(scene: Scene, rng: np.random.Generator, most: int = 4) -> str:
    """Describe up to ``most`` objects of a scene, in random order, and one ground."""
    things = [item.look for item in scene.objects if item.look.shape != GROUND]
    grounds = [item.look for item in scene.objects if item.look.shape == GROUND]
    chosen = [things[index] for index in rng.permutation(len(things))[:most]]
    parts = [
        f"a {look.color} {look.shape}" + (f" with {look.written}" if look.written else "") for look in chosen
    ]
    return " and ".join(parts) + f" on {grounds[int(rng.integers(len(grounds)))].color}"


def ask_many(
    scene: Scene, kinds: list[str], rng: np.random.Generator, yes: float = 0.5, world: World = FIRST_WORLD
) -> list[Question]:
    """Ask one question of each of ``kinds`` that the scene allows; ``yes`` is the chance of that answer."""
    asked = (world.ask(scene, kind, rng, bool(rng.random() < yes)) for kind in kinds)
    return [question for question in asked if question is not None]
