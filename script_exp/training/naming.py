"""What texts can name in a world, and which objects fit: the labels of image-level supervision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from script_exp.shapes.questions import FIRST_WORLD
from script_exp.shapes.scenes import GROUND, Look
from script_exp.shapes.second_questions import SECOND_WORLD
from script_exp.shapes.sprites import COLORS, DIGITS, GROUNDS, SHAPES, SIGN
from script_exp.shapes.words import LABEL, PRINTED
from script_exp.shapes.world import World
from script_exp.training.diet import ALL

_FIRST_PATTERNS = (
    *(Look(shape, color) for shape in (*SHAPES, SIGN) for color in COLORS),
    *(Look(shape, "") for shape in (*SHAPES, SIGN)),
    *(Look("", color) for color in COLORS),
    *(Look(SIGN, "", digit) for digit in DIGITS),
    *(Look(GROUND, name) for name in GROUNDS),
)
_WORD_PATTERNS = tuple(Look(LABEL, "", word) for word in PRINTED)
_LABEL_PATTERNS = (*(Look(LABEL, color) for color in COLORS), Look(LABEL, ""), *_WORD_PATTERNS)
_SINGULAR = (
    {shape: shape for shape in (*SHAPES, SIGN, LABEL)}
    | {shape + "s": shape for shape in SHAPES}
    | {"crosses": "cross"}
)


@dataclass(frozen=True)
class Naming:
    """What texts can name in one world.

    Attributes:
        world: the world.
        patterns: everything that a text can name; an empty field matches anything.
        asked: the kinds of question that name a thing, not a place.
        always: what texts name in every step of training, because it is learned slowest.
    """

    world: World
    patterns: tuple[Look, ...]
    asked: tuple[str, ...]
    always: tuple[Look, ...] = ()

    @cached_property
    def ids(self) -> dict[Look, int]:
        """The index of each pattern."""
        return {pattern: index for index, pattern in enumerate(self.patterns)}

    def fitting(self, look: Look) -> list[int]:
        """Return the ids of all patterns that a look fits."""
        if look.shape == GROUND:
            return [self.ids[look]]
        fitting = [Look(look.shape, look.color), Look(look.shape, ""), Look("", look.color)]
        if look.written:
            fitting.append(Look(look.shape, "", look.written))
        return [self.ids[pattern] for pattern in fitting]

    def named(self, text: str) -> list[int]:
        """Return the ids of the patterns that a question names, from its words alone."""
        return [self.ids[pattern] for pattern in _named(text.rstrip("?").split())]

    def phrases(self) -> list[tuple[str, list[int]]]:
        """Return the phrase of every pattern with its id."""
        return [(phrase(pattern), [index]) for index, pattern in enumerate(self.patterns)]


def _named(words: list[str]) -> Iterator[Look]:
    """Yield what the words name; "object" names something only with a color before it."""
    for index, word in enumerate(words):
        color = words[index - 1] if index and words[index - 1] in COLORS else ""
        written = words[index + 2] if words[index + 1 : index + 2] == ["with"] else ""
        if word == SIGN and written in DIGITS:
            yield Look(SIGN, "", written)
        elif word in _SINGULAR:
            yield Look(_SINGULAR[word], color)
        elif word in ("object", "objects") and color:
            yield Look("", color)


def phrase(pattern: Look) -> str:
    """Return the shortest text that names a pattern."""
    if pattern.shape == GROUND:
        return f"{pattern.color} ground"
    if pattern.written:
        return f"a {pattern.shape} with {pattern.written}"
    return " ".join(["a", *([pattern.color] if pattern.color else []), pattern.shape or "object"])


FIRST_NAMING = Naming(FIRST_WORLD, _FIRST_PATTERNS, tuple(kind for kind in ALL if kind != "ground"))
SECOND_NAMING = Naming(
    SECOND_WORLD, (*_FIRST_PATTERNS, *_LABEL_PATTERNS), SECOND_WORLD.kinds, always=_WORD_PATTERNS
)
