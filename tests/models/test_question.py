"""The question of a finished prompt, without the words that families put around and among placeholders."""

from __future__ import annotations

from families import QUESTIONS, visuals

from script_exp.models.question import bare_questions


def test_words_of_an_image_are_no_part_of_the_question(model, family):
    """Also times such as "<1.2 seconds>", which no tokenizer knows."""
    asked = [*QUESTIONS[:2], "is it at <img 2> 3.5 seconds or 4?"]
    inputs = model.preprocess(visuals(family), [model.chat_prompt(question) for question in asked])
    assert bare_questions(model, inputs["input_ids"]) == asked
