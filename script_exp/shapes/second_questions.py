"""Questions of the second world: what a question names is mostly not all that its answer needs.

One-word answers, balanced so that the text alone barely beats chance. In this world "object" means a shape;
signs and labels are called that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import numpy as np

from script_exp.shapes.questions import NUMBERS, PLURALS, YES_NO
from script_exp.shapes.scenes import GROUND, Look, Scene
from script_exp.shapes.second_scenes import SecondScene, make_second_scene
from script_exp.shapes.sprites import COLORS, SHAPES, SIGN
from script_exp.shapes.words import LABEL
from script_exp.shapes.world import Asker, Question, World

DENSITIES = ((10, 13), (14, 17), (18, 22))
OPPOSITE = {"left of": "right of", "above": "below"}


def _pick(items: list[int], rng: np.random.Generator) -> int:
    return items[int(rng.integers(len(items)))]


def _of_shape(scene: Scene, shape: str) -> list[int]:
    return [index for index, item in enumerate(scene.objects) if item.look.shape == shape]


def _shapes(scene: Scene) -> list[int]:
    """Return the indices of the objects that are neither signs, labels nor ground."""
    other = (SIGN, LABEL, GROUND)
    return [index for index, item in enumerate(scene.objects) if item.look.shape not in other]


def _name(look: Look) -> str:
    return f"{look.color} {look.shape}"


def _neighbors(scene: Scene) -> list[tuple[int, int, str]]:
    """Return (anchor, neighbor, relation): the neighbor is in that relation to the anchor, a unique shape."""
    if not isinstance(scene, SecondScene):
        return []
    count = Counter(item.look for item in scene.objects)
    both = [(second, first, relation) for first, second, relation in scene.pairs]
    both += [(first, second, OPPOSITE[relation]) for first, second, relation in scene.pairs]
    shapes = set(_shapes(scene))
    return [one for one in both if one[0] in shapes and count[scene.objects[one[0]].look] == 1]


def _beside(scene: Scene, rng: np.random.Generator) -> tuple[int, int, str] | None:
    """Draw an anchor with a shape beside it."""
    shapes = set(_shapes(scene))
    found = [one for one in _neighbors(scene) if one[1] in shapes]
    return found[int(rng.integers(len(found)))] if found else None


def _beside_color(scene: Scene, rng: np.random.Generator, _: bool) -> Question | None:
    found = _beside(scene, rng)
    if found is None:
        return None
    anchor, neighbor, relation = found
    text = f"what color is the object {relation} the {_name(scene.objects[anchor].look)}?"
    return Question("beside_color", text, scene.objects[neighbor].look.color, (anchor, neighbor))


def _beside_shape(scene: Scene, rng: np.random.Generator, _: bool) -> Question | None:
    found = _beside(scene, rng)
    if found is None:
        return None
    anchor, neighbor, relation = found
    text = f"what shape is {relation} the {_name(scene.objects[anchor].look)}?"
    return Question("beside_shape", text, scene.objects[neighbor].look.shape, (anchor, neighbor))


def _through(scene: Scene, rng: np.random.Generator, _: bool) -> Question | None:
    """Ask for the only shape of a color that must be read from a sign."""
    colors = Counter(scene.objects[index].look.color for index in _shapes(scene))
    signs = [index for index in _of_shape(scene, SIGN) if colors[scene.objects[index].look.color] == 1]
    if not signs:
        return None
    sign = _pick(signs, rng)
    look = scene.objects[sign].look
    shape = next(index for index in _shapes(scene) if scene.objects[index].look.color == look.color)
    text = f"what shape has the color of the sign with {look.written}?"
    return Question("through", text, scene.objects[shape].look.shape, (sign, shape))


def _largest(scene: Scene, rng: np.random.Generator, _: bool) -> Question | None:
    signs = _of_shape(scene, SIGN)
    if len(signs) < 2:
        return None
    largest = max(signs, key=lambda index: scene.objects[index].look.written)
    text = "what color is the sign with the largest digit?"
    return Question("largest", text, scene.objects[largest].look.color, tuple(signs))


def _word(scene: Scene, rng: np.random.Generator, _: bool) -> Question | None:
    labels = _of_shape(scene, LABEL)
    if not labels:
        return None
    label = _pick(labels, rng)
    look = scene.objects[label].look
    return Question("word", f"what word is on the {look.color} label?", look.written, (label,))


def _word_below(scene: Scene, rng: np.random.Generator, _: bool) -> Question | None:
    found = [one for one in _neighbors(scene) if scene.objects[one[1]].look.shape == LABEL]
    if not found:
        return None
    anchor, label, _relation = found[int(rng.integers(len(found)))]
    text = f"what word is on the label below the {_name(scene.objects[anchor].look)}?"
    return Question("word_below", text, scene.objects[label].look.written, (anchor, label))


def _equal(scene: Scene, look: Look) -> tuple[int, ...]:
    return tuple(index for index, item in enumerate(scene.objects) if item.look == look)


def _count(scene: Scene, rng: np.random.Generator, _: bool) -> Question | None:
    if not isinstance(scene, SecondScene):
        return None
    look = scene.counted
    found = _equal(scene, look)
    if not 1 <= len(found) < len(NUMBERS):
        return None
    text = f"how many {look.color} {PLURALS[look.shape]} are there?"
    return Question("count", text, NUMBERS[len(found)], found)


def _exist(scene: Scene, rng: np.random.Generator, wanted: bool) -> Question | None:
    """Ask whether there is a shape of a color; if not, there are both that shape and that color."""
    looks = {scene.objects[index].look for index in _shapes(scene)}
    return _is_there(scene, {look.shape for look in looks}, {look.color for look in looks}, rng, wanted)


def _exist_any(scene: Scene, rng: np.random.Generator, wanted: bool) -> Question | None:
    """Ask the same, also about shapes and colors that a scene does not have."""
    return _is_there(scene, SHAPES, COLORS, rng, wanted)


def _is_there(
    scene: Scene, shapes: Collection[str], colors: Collection[str], rng: np.random.Generator, wanted: bool
) -> Question | None:
    """Ask for one of ``shapes`` in one of ``colors`` that is there, or that is not."""
    looks = {scene.objects[index].look for index in _shapes(scene)}
    every = [Look(shape, color) for shape in sorted(shapes) for color in sorted(colors)]
    asked = [look for look in every if (look in looks) == wanted]
    if not asked:
        return None
    look = asked[int(rng.integers(len(asked)))]
    return Question("exist", f"is there a {_name(look)}?", YES_NO[wanted], _equal(scene, look))


ASKERS: dict[str, Asker] = {
    "beside_color": _beside_color,
    "beside_shape": _beside_shape,
    "through": _through,
    "largest": _largest,
    "word": _word,
    "word_below": _word_below,
    "count": _count,
    "exist": _exist,
    "exist_any": _exist_any,
}
KINDS = tuple(kind for kind in ASKERS if kind != "exist_any")
"""Kinds in the benchmark. The other is asked only in training: it is where the comparison can be learned."""
SECOND_WORLD = World(make_second_scene, DENSITIES, ASKERS, KINDS, ("exist",), salt=(2,))
"""The world of ``benchmark=shapes_2``."""
