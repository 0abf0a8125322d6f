"""What a world is: how its scenes are rendered, and what is asked about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from script_exp.shapes.scenes import FULL, GRID, Scene, Window
from script_exp.shapes.sprites import PATCH


@dataclass(frozen=True)
class Question:
    """A question, its one-word answer, and the objects that must be seen to answer it.

    Attributes:
        objects: indices into :attr:`Scene.objects`; empty if the correct answer is that there is no such
            object.
    """

    kind: str
    text: str
    answer: str
    objects: tuple[int, ...]


Asker = Callable[[Scene, np.random.Generator, bool], Question | None]
"""(scene, generator, wanted answer of a yes-no question) -> a question; None if the scene allows none."""
Renderer = Callable[[np.random.Generator, int, Window], Scene]
"""(generator, number of objects, window) -> a scene with up to so many objects."""


@dataclass(frozen=True)
class World:
    """Scenes of one kind, and the questions about them.

    Attributes:
        render: makes a scene.
        densities: inclusive ranges of the number of objects, taken in turn.
        askers: for every kind of question, the function that asks it.
        kinds: the kinds in the benchmark, in this order.
        yes_no_kinds: those of them that are answered by yes or no.
        salt: is appended to the seed of held-out scenes, so that two worlds differ.
    """

    render: Renderer
    densities: tuple[tuple[int, int], ...]
    askers: Mapping[str, Asker]
    kinds: tuple[str, ...]
    yes_no_kinds: tuple[str, ...]
    salt: tuple[int, ...] = ()

    def ask(
        self, scene: Scene, kind: str, rng: np.random.Generator, wanted: bool | None = None
    ) -> Question | None:
        """Return one question of a kind, or None if the scene allows none.

        Args:
            scene: a scene of this world.
            kind: a key of ``askers``.
            rng: chooses among the questions that the scene allows.
            wanted: the answer of a yes-no question; None for a random one.
        """
        return self.askers[kind](scene, rng, bool(rng.random() < 0.5) if wanted is None else wanted)

    def held_out(self, seed: int, scenes: int) -> Iterator[tuple[Scene, list[Question]]]:
        """Yield full scenes of every density in turn, each with one question of every kind that it allows.

        The seed determines them. Yes and no alternate, so both are equally frequent (to within one).
        """
        rng = np.random.default_rng([seed, GRID, PATCH, *self.salt])
        wanted = dict.fromkeys(self.yes_no_kinds, True)
        for number in range(scenes):
            low, high = self.densities[number % len(self.densities)]
            scene = self.render(rng, int(rng.integers(low, high + 1)), FULL)
            questions = []
            for kind in self.kinds:
                question = self.ask(scene, kind, rng, wanted.get(kind))
                if question is None:
                    continue
                questions.append(question)
                if kind in wanted:
                    wanted[kind] = not wanted[kind]
            yield scene, questions
