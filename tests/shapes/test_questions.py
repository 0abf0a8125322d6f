"""Questions: deterministic, balanced, and with answers confirmed by an independent reading of the scene."""

import re
from collections import Counter, defaultdict

import numpy as np
import pytest

from script_exp.config.benchmark_config import benchmark_config
from script_exp.shapes.questions import ASKERS, KINDS, YES_NO_KINDS, ask, held_out
from script_exp.shapes.scenes import GRID, GROUND
from script_exp.shapes.sprites import COLORS, GROUNDS, SHAPES
from script_exp.training.diet import LEANING_TO_YES, chance_of_yes
from script_exp.training.monitor import MONITOR_SEED
from script_exp.training.vocabulary import UNKNOWN, WORDS, encode
from script_exp.training.windows import ask_many

NUMBER = {1: "one", 2: "two", 3: "three", 4: "four"}


@pytest.fixture(scope="module")
def asked():
    return list(held_out(seed=77, scenes=130))


def find(scene, color=None, shape=None):
    return [
        index
        for index, item in enumerate(scene.objects)
        if item.look.shape != GROUND and color in (None, item.look.color) and shape in (None, item.look.shape)
    ]


def only(indices):
    assert len(indices) == 1, "the question must refer to exactly one object"
    return indices[0]


def derive(scene, text):
    """(answer, needed objects) of a question, from its words and `scene.objects` only."""
    objects = scene.objects
    if match := re.fullmatch(r"what color is the (\w+)\?", text):
        index = only(find(scene, shape=match[1]))
        return objects[index].look.color, {index}
    if match := re.fullmatch(r"what shape is the (\w+) object\?", text):
        index = only(find(scene, color=match[1]))
        return objects[index].look.shape, {index}
    if match := re.fullmatch(r"what digit is on the (?:(\w+) )?sign\?", text):
        index = only(find(scene, color=match[1], shape="sign"))
        return objects[index].look.written, {index}
    if match := re.fullmatch(r"where is the (\w+) object\?", text):
        index = only(find(scene, color=match[1]))
        row, column = objects[index].center
        assert min(abs(row - 96), abs(column - 96)) >= 8, "too near a middle line to tell"
        return ("north" if row < 96 else "south") + ("west" if column < 96 else "east"), {index}
    if match := re.fullmatch(r"is there a (\w+) object\?", text):
        found = find(scene, color=match[1])
        return "yes" if found else "no", set(found)
    if match := re.fullmatch(r"are there both a (\w+) object and a (\w+) object\?", text):
        assert match[1] != match[2]
        first, second = find(scene, color=match[1]), find(scene, color=match[2])
        return "yes" if first and second else "no", {*first, *second}
    if match := re.fullmatch(r"is the (\w+) object (left of|right of|above|below) the (\w+) object\?", text):
        first, second = only(find(scene, color=match[1])), only(find(scene, color=match[3]))
        axis = 1 if match[2] in ("left of", "right of") else 0
        gap = objects[first].center[axis] - objects[second].center[axis]
        assert abs(gap) >= 16, "too near to tell"
        return "yes" if (gap < 0) == (match[2] in ("left of", "above")) else "no", {first, second}
    if match := re.fullmatch(r"how many (\w+) objects are there\?", text):
        found = find(scene, color=match[1])
        return NUMBER[len(found)], set(found)
    match = re.fullmatch(r"what is the ground in the (north|south)(west|east)\?", text)
    assert match, text
    row, column = (GRID - 1) * (match[1] == "south"), (GRID - 1) * (match[2] == "east")
    rows, columns = np.divmod(np.arange(GRID * GRID), GRID)
    distance = np.abs(rows - row) + np.abs(columns - column)
    grounds = [index for index, item in enumerate(objects) if item.look.shape == GROUND]
    nearest = min(grounds, key=lambda index: distance[objects[index].coverage > 0].min())
    return objects[nearest].look.color, {nearest}


def test_equal_seeds_ask_equal_questions():
    first, second = list(held_out(5, 4)), list(held_out(5, 4))
    assert [questions for _, questions in first] == [questions for _, questions in second]
    assert all(np.array_equal(a.image, b.image) for (a, _), (b, _) in zip(first, second, strict=True))
    assert [questions for _, questions in held_out(6, 4)] != [questions for _, questions in first]


def test_fewer_scenes_are_a_prefix_of_more():
    assert [questions for _, questions in held_out(5, 2)] == [questions for _, questions in held_out(5, 4)][
        :2
    ]


def test_answers_and_needed_objects_follow_from_the_scene(asked):
    """The benchmark's questions, and those that are only asked while training."""
    rng = np.random.default_rng(9)
    for scene, questions in asked:
        trained = [question for kind in ASKERS if (question := ask(scene, kind, rng)) is not None]
        for question in [*questions, *trained]:
            answer, needed = derive(scene, question.text)
            assert (question.answer, set(question.objects)) == (answer, needed), question


def test_answers_lean_in_training_only_where_they_are_told_to_and_stay_true(asked):
    rng = np.random.default_rng(10)
    scenes = [scene for scene, _ in asked]
    for leaning in (0.5, 0.85):
        answers = defaultdict(Counter)
        for scene in scenes:
            for question in ask_many(scene, ["exist", "both"] * 4, rng, chance_of_yes(scene, leaning)):
                assert question.answer == derive(scene, question.text)[0]
                answers[scene.planted in LEANING_TO_YES][question.answer] += 1
        for to_yes, counted in answers.items():
            assert counted["yes"] / counted.total() == pytest.approx(
                leaning if to_yes else 1 - leaning, abs=0.08
            )


def test_there_are_enough_questions_of_every_kind(asked):
    kinds = Counter(question.kind for _, questions in asked for question in questions)
    assert set(kinds) == set(KINDS)
    assert sum(kinds.values()) >= 512
    assert min(kinds.values()) >= 0.5 * max(kinds.values())


def test_answers_are_balanced_within_each_kind(asked):
    answers = defaultdict(Counter)
    for _, questions in asked:
        for question in questions:
            answers[question.kind][question.answer] += 1
    possible = {"color": len(COLORS), "shape": len(SHAPES), "ground": len(GROUNDS), "digit": 10}
    for kind, counted in answers.items():
        if kind in YES_NO_KINDS:
            assert abs(counted["yes"] - counted["no"]) <= 1
        else:
            number = possible.get(kind, 4)
            assert len(counted) == number
            # Four standard deviations above the uniform share of a multinomial draw.
            total = counted.total()
            assert max(counted.values()) < total / number + 4 * (total / number) ** 0.5


def test_sparse_and_dense_scenes_both_occur(asked):
    sizes = [sum(item.look.shape != GROUND for item in scene.objects) for scene, _ in asked]
    assert sum(size <= 8 for size in sizes) > len(sizes) / 4
    assert sum(size >= 15 for size in sizes) > len(sizes) / 4


def test_every_word_is_in_the_vocabulary(asked):
    for _, questions in asked:
        for question in questions:
            assert UNKNOWN not in encode(question.text)
            assert question.answer in WORDS


def test_the_large_benchmark_asks_at_least_4000_questions_about_other_scenes():
    small, large = (benchmark_config(name) for name in ("shapes", "shapes_large"))
    assert large["_target_"] == small["_target_"]
    assert len({small["scene_seed"], large["scene_seed"], MONITOR_SEED}) == 3
    first = sum(len(questions) for _, questions in held_out(large["scene_seed"], 60))
    assert first / 60 * large["scenes"] > 4050  # 4,129 in all 600 scenes
