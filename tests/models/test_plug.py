"""The context manager around a user's own model."""

from __future__ import annotations

import pytest
import torch
from conftest import QUESTIONS, batch

from script_exp import prune
from script_exp.errors import UserError
from script_exp.models.plug import bare_questions
from script_exp.pruners import FastV, NoPruning, Random, Script


def generate(llava, inputs, **more):
    return llava.model.generate(**inputs, max_new_tokens=4, do_sample=False, **more)


@pytest.mark.parametrize("make", [Script, lambda budget: FastV(budget=budget, layer=1, budget_as="after")])
def test_same_answers_as_the_runner(llava, make):
    inputs, questions = batch(llava, 3)
    images = llava.encode_images(inputs, with_joint=True)
    pruner = make(budget=40)
    prompt = llava.prune(inputs, images, pruner, llava.encode_queries(questions))
    wanted = llava.generate(prompt, 4)
    with prune(llava.model, llava.processor, pruner, relevance_sign=1):
        ids = generate(llava, inputs)
    length = inputs["input_ids"].shape[1]
    assert torch.equal(ids[:, :length], inputs["input_ids"])
    new = llava.processor.batch_decode(ids[:, length:], skip_special_tokens=True)
    assert [text.strip() for text in new] == wanted


def test_keeping_all_changes_nothing(llava):
    inputs, _ = batch(llava, 3)
    plain = generate(llava, inputs)
    with prune(llava.model, llava.processor, NoPruning()):
        assert torch.equal(generate(llava, inputs), plain)


def test_the_model_is_restored_even_after_an_error(llava):
    with pytest.raises(RuntimeError, match="stop"), prune(llava.model, llava.processor, Random(budget=4)):
        raise RuntimeError("stop")
    assert "generate" not in vars(llava.model)


def test_contexts_nest(llava):
    with prune(llava.model, llava.processor, Random(budget=4)):
        outer = vars(llava.model)["generate"]
        with prune(llava.model, llava.processor, NoPruning()):
            pass
        assert vars(llava.model)["generate"] is outer


def test_beams_and_dictionaries_keep_the_prompt_in_front(llava):
    inputs, _ = batch(llava, 2)
    with prune(llava.model, llava.processor, Random(budget=30)):
        output = generate(llava, inputs, num_beams=3, num_return_sequences=2, return_dict_in_generate=True)
    length = inputs["input_ids"].shape[1]
    assert output.sequences.shape == (4, length + 4)
    assert torch.equal(output.sequences[:, :length], inputs["input_ids"].repeat_interleave(2, dim=0))


def test_text_alone_passes_through(llava):
    ids = llava.processor.tokenizer("what color is the star ?", return_tensors="pt")["input_ids"]
    plain = llava.model.generate(input_ids=ids, max_new_tokens=3, do_sample=False)
    with prune(llava.model, llava.processor, Random(budget=4)):
        assert torch.equal(llava.model.generate(input_ids=ids, max_new_tokens=3, do_sample=False), plain)


def test_the_question_is_read_from_the_prompt(llava):
    inputs, _ = batch(llava, 3)
    wanted = [question.replace("star?", "star ?") for question in QUESTIONS]
    assert bare_questions(llava, inputs["input_ids"]) == wanted


def test_a_clip_that_does_not_fit(llava, tmp_path):
    from checkpoints import save_clip

    wrong = save_clip(tmp_path / "clip", width=20, joint=8)
    with (
        pytest.raises(UserError, match="takes 20 features, but the model's vision tower has 32"),
        prune(llava.model, llava.processor, Script(budget=4), clip=wrong),
    ):
        pass
    with (
        pytest.raises(UserError, match=r"no model\.safetensors"),
        prune(llava.model, llava.processor, Script(budget=4), clip=tmp_path),
    ):
        pass
