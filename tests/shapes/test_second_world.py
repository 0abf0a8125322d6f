"""The second world: balanced answers, confirmed by an independent reading of the scene."""

import re
from collections import Counter, defaultdict

import numpy as np
import pytest

from script_exp.cell.build import build_benchmark
from script_exp.config.benchmark_config import benchmark_config
from script_exp.shapes.questions import held_out
from script_exp.shapes.scenes import GRID, GROUND, Window
from script_exp.shapes.second_questions import SECOND_WORLD
from script_exp.shapes.sprites import COLORS, PATCH, SHAPES, SIGN
from script_exp.shapes.words import LABEL, LETTERS, PRINTED
from script_exp.training.monitor import MONITOR_SEED
from script_exp.training.naming import SECOND_NAMING, Look
from script_exp.training.oracle import needed_patches
from script_exp.training.vocabulary import SECOND_WORDS, UNKNOWN, WORDS, encode

NUMBER = {1: "one", 2: "two", 3: "three", 4: "four"}
STEP = {"left of": (0, -1), "right of": (0, 1), "above": (-1, 0), "below": (1, 0)}


@pytest.fixture(scope="module")
def asked():
    return list(SECOND_WORLD.held_out(seed=78, scenes=60))


def find(scene, **wanted):
    return [
        index
        for index, item in enumerate(scene.objects)
        if all(getattr(item.look, name) == value for name, value in wanted.items())
    ]


def only(indices):
    assert len(indices) == 1, "the question must refer to exactly one object"
    return indices[0]


def beside(scene, anchor, relation):
    """The nearest object on that side of the anchor that is not more than 12 pixels off to the other side."""
    middle = np.array(scene.objects[anchor].center)
    step = np.array(STEP[relation])
    found = {}
    for index, item in enumerate(scene.objects):
        away = np.array(item.center) - middle
        along, across = away @ step, abs(away @ step[::-1])
        if item.look.shape != GROUND and index != anchor and along > 0 and across <= 12:
            found[index] = along
    nearest = min(found, key=found.get)
    assert sum(along < found[nearest] + 8 for along in found.values()) == 1, "which is nearest can be told"
    return nearest


def derive(scene, text):
    """(answer, needed objects) of a question, from its words and `scene.objects` only."""
    objects = scene.objects
    if match := re.fullmatch(r"what (color is the object|shape is) ([a-z ]+) the (\w+) (\w+)\?", text):
        anchor = only(find(scene, color=match[3], shape=match[4]))
        other = beside(scene, anchor, match[2])
        look = objects[other].look
        return (look.shape if match[1] == "shape is" else look.color), {anchor, other}
    if match := re.fullmatch(r"what shape has the color of the sign with (\d)\?", text):
        sign = only(find(scene, shape=SIGN, written=match[1]))
        same = [
            index
            for index in find(scene, color=objects[sign].look.color)
            if objects[index].look.shape in SHAPES
        ]
        return objects[only(same)].look.shape, {sign, *same}
    if text == "what color is the sign with the largest digit?":
        signs = find(scene, shape=SIGN)
        digits = sorted((objects[index].look.written, objects[index].look.color) for index in signs)
        assert len(signs) >= 2
        assert digits[-1][0] > digits[-2][0]
        return digits[-1][1], set(signs)
    if match := re.fullmatch(r"what word is on the label below the (\w+) (\w+)\?", text):
        anchor = only(find(scene, color=match[1], shape=match[2]))
        label = beside(scene, anchor, "below")
        return objects[label].look.written, {anchor, label}
    if match := re.fullmatch(r"what word is on the (\w+) label\?", text):
        label = only(find(scene, shape=LABEL, color=match[1]))
        return objects[label].look.written, {label}
    if match := re.fullmatch(r"how many (\w+) (\w+?)s are there\?", text):
        found = find(scene, color=match[1], shape={"crosse": "cross"}.get(match[2], match[2]))
        return NUMBER[len(found)], set(found)
    match = re.fullmatch(r"is there a (\w+) (\w+)\?", text)
    assert match, text
    found = find(scene, color=match[1], shape=match[2])
    return "yes" if found else "no", set(found)


def test_answers_and_needed_objects_follow_from_the_scene(asked):
    """The benchmark's questions, and the one that is only asked while training."""
    rng = np.random.default_rng(9)
    for scene, questions in asked:
        trained = [SECOND_WORLD.ask(scene, "exist_any", rng, wanted) for wanted in (False, True)]
        for question in [*questions, *trained]:
            assert (question.answer, set(question.objects)) == derive(scene, question.text), question
        for question in questions:
            if question.kind == "exist" and question.answer == "no":
                color, shape = question.text.rstrip("?").split()[-2:]
                shapes = [item.look for item in scene.objects if item.look.shape in SHAPES]
                assert any(look.color == color for look in shapes), "near-duplicates of what is asked for"
                assert any(look.shape == shape for look in shapes), "near-duplicates of what is asked for"


def test_every_kind_is_asked_and_its_answers_are_balanced(asked):
    answers = defaultdict(Counter)
    for _, questions in asked:
        for question in questions:
            answers[question.kind][question.answer] += 1
    assert tuple(answers) == SECOND_WORLD.kinds
    possible = {
        "count": 4,
        "exist": 2,
        "word": len(PRINTED),
        "word_below": len(PRINTED),
    }
    for kind, counted in answers.items():
        total, number = counted.total(), possible.get(kind, len(COLORS))
        assert total >= 0.9 * len(asked), kind
        # Four standard deviations above the uniform share of a multinomial draw.
        assert max(counted.values()) < total / number + 4 * (total / number) ** 0.5, kind
    assert abs(answers["exist"]["yes"] - answers["exist"]["no"]) <= 1


def test_equal_seeds_are_equal_scenes_and_not_those_of_the_first_world():
    first, second = list(SECOND_WORLD.held_out(5, 3)), list(SECOND_WORLD.held_out(5, 4))
    for (one, questions), (other, again) in zip(first, second, strict=False):
        assert np.array_equal(one.image, other.image)
        assert questions == again
    assert not np.array_equal(first[0][0].image, next(held_out(5, 1))[0].image)


def test_coverage_matches_the_pixels(asked):
    """No patch is covered twice; a label's row of glyphs is dark print on the label's color."""
    for scene, _ in asked[:20]:
        assert np.sum([item.coverage for item in scene.objects], 0).max() <= 1 + 1e-5
        for item in scene.objects:
            if item.look.shape != LABEL:
                continue
            whole = np.flatnonzero(item.coverage == 1)
            assert len(whole) == len(item.look.written)
            assert item.coverage.sum() == 2 * len(whole)
            for patch, letter in zip(whole, item.look.written, strict=True):
                row, column = (PATCH * int(place) for place in divmod(int(patch), GRID))
                pixels = scene.image[row : row + PATCH, column : column + PATCH].astype(float)
                dark = pixels.sum(-1) < 0.4 * sum(COLORS[item.look.color])
                assert dark.sum() == LETTERS[letter].sum()


def test_words_are_told_apart_only_by_reading_them():
    assert Counter(map(len, PRINTED)) == {3: 8, 4: 8, 5: 8}
    for word in PRINTED:
        others = [other for other in PRINTED if len(other) == len(word)]
        assert 1 in [sum(a != b for a, b in zip(word, other, strict=True)) for other in others]


def test_a_window_shows_a_part_and_asks_only_about_it():
    rng = np.random.default_rng(0)
    kinds = Counter()
    for _ in range(60):
        scene = SECOND_WORLD.render(rng, 2, Window(side=6, top=12, left=6))
        assert scene.image.shape == (48, 48, 3)
        for kind in SECOND_WORLD.askers:
            question = SECOND_WORLD.ask(scene, kind, rng)
            kinds[kind] += question is not None
            assert question is None or max(question.objects, default=0) < len(scene.objects)
    assert min(kinds.values()) > 0


def test_what_a_question_names_follows_from_its_words():
    def names(text):
        return {SECOND_NAMING.patterns[index] for index in SECOND_NAMING.named(text)}

    assert names("what color is the object left of the red star?") == {Look("star", "red")}
    assert names("what shape has the color of the sign with 7?") == {Look(SIGN, "", "7")}
    assert names("what color is the sign with the largest digit?") == {Look(SIGN, "")}
    assert names("what word is on the label below the red star?") == {Look(LABEL, ""), Look("star", "red")}
    assert names("how many pink crosses are there?") == {Look("cross", "pink")}


def test_every_word_is_known_and_the_first_ones_keep_their_place(asked):
    assert SECOND_WORDS[: len(WORDS)] == WORDS
    known = len(SECOND_WORDS)
    texts = {question.text for _, questions in asked for question in questions}
    assert all(UNKNOWN not in encode(text, known) for text in texts)
    assert {question.answer for _, questions in asked for question in questions} <= set(SECOND_WORDS)
    assert max(encode("what word is on the red label?")) < len(WORDS)
    assert UNKNOWN in encode("what word is on the red label?")


def test_the_benchmark_has_the_questions_that_the_oracle_knows():
    settings = benchmark_config("shapes_2")
    benchmark = build_benchmark(settings | {"scenes": 3})
    assert benchmark.fingerprint() is None
    needed = needed_patches(settings["scene_seed"], 3, SECOND_WORLD)
    samples = benchmark.samples()
    assert [sample.id for sample in samples] == list(needed)
    assert [sample.kind for sample in samples[:8]] == list(SECOND_WORLD.kinds)
    asked = [(scene, question) for scene, all_ in SECOND_WORLD.held_out(20266, 3) for question in all_]
    for sample, (scene, question) in zip(samples, asked, strict=True):
        assert (sample.prompt, sample.references) == (question.text, (question.answer,))
        assert np.array_equal(np.asarray(sample.visual()), scene.image)
    seeds = {benchmark_config(name)["scene_seed"] for name in ("shapes", "shapes_large", "shapes_2")}
    assert len(seeds | {MONITOR_SEED}) == 4
