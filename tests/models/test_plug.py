"""The context manager around a user's own model."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch
from small_llava import QUESTIONS, batch, images, load
from transformers import GenerationConfig

from script_exp import prune, select
from script_exp.errors import SettingError, UserError
from script_exp.models.plug import bare_questions
from script_exp.models.prunable import PrunableModel
from script_exp.pruners import FastV, NoPruning, Random, Script
from script_exp.pruners.contract.signals import Reads


def generate(llava, inputs, **more):
    return llava.model.generate(**inputs, max_new_tokens=4, do_sample=False, **more)


@pytest.mark.parametrize("make", [Script, lambda budget: FastV(budget=budget, layer=1, budget_as="after")])
def test_same_answers_as_the_runner(llava, make):
    inputs, questions = batch(llava, 3)
    images = llava.encode_images(inputs, Reads(joint=True))
    pruner = make(budget=40)
    prompt = llava.prune(inputs, images, pruner, llava.encode_queries(questions))
    wanted = llava.generate(prompt, 4).texts
    with prune(llava.model, llava.processing, pruner, relevance_sign=1):
        ids = generate(llava, inputs)
    length = inputs["input_ids"].shape[1]
    assert torch.equal(ids[:, :length], inputs["input_ids"])
    new = llava.processing.tokenizer.batch_decode(ids[:, length:], skip_special_tokens=True)
    assert [text.strip() for text in new] == wanted


def test_keeping_all_changes_nothing(llava):
    inputs, _ = batch(llava, 3)
    plain = generate(llava, inputs)
    with prune(llava.model, llava.processing, NoPruning()):
        assert torch.equal(generate(llava, inputs), plain)


def test_the_model_is_restored_even_after_an_error(llava):
    with pytest.raises(RuntimeError, match="stop"), prune(llava.model, llava.processing, Random(budget=4)):
        raise RuntimeError("stop")
    assert "generate" not in vars(llava.model)


def test_contexts_nest(llava):
    with prune(llava.model, llava.processing, Random(budget=4)):
        outer = vars(llava.model)["generate"]
        with prune(llava.model, llava.processing, NoPruning()):
            pass
        assert vars(llava.model)["generate"] is outer


def test_beams_and_dictionaries_keep_the_prompt_in_front(llava):
    inputs, _ = batch(llava, 2)
    with prune(llava.model, llava.processing, Random(budget=30)):
        output = generate(llava, inputs, num_beams=3, num_return_sequences=2, return_dict_in_generate=True)
    length = inputs["input_ids"].shape[1]
    assert output.sequences.shape == (4, length + 4)
    assert torch.equal(output.sequences[:, :length], inputs["input_ids"].repeat_interleave(2, dim=0))


def fastv(budget):
    return FastV(budget=budget, layer=1, budget_as="after")


def test_beams_inside_the_llm_equal_single_rows(llava):
    inputs, _ = batch(llava, 2)
    with prune(llava.model, llava.processing, fastv(30)):
        together = generate(llava, inputs, num_beams=3)
        for row in range(2):
            length = int(inputs["attention_mask"][row].sum())
            single = {name: tensor[row : row + 1] for name, tensor in inputs.items()}
            single |= {name: single[name][:, -length:] for name in ("input_ids", "attention_mask")}
            alone = generate(llava, single, num_beams=3)
            assert together[row, -4:].tolist() == alone[0, -4:].tolist()


@pytest.mark.parametrize(
    ("more", "message"),
    [({"cache_implementation": "static"}, "a dynamic cache"), ({"use_cache": False}, "use_cache=True")],
)
def test_caches_that_do_not_fit(llava, more, message):
    inputs, _ = batch(llava, 2)
    with prune(llava.model, llava.processing, fastv(30)), pytest.raises(UserError, match=message):
        generate(llava, inputs, **more)


def test_types_of_tokens_are_those_of_the_whole_prompt(llava):
    """Some processors return them; a shortened prompt cannot take them."""
    inputs, _ = batch(llava, 1)
    with prune(llava.model, llava.processing, Random(budget=40)):
        plain = generate(llava, inputs)
        typed = generate(llava, inputs, token_type_ids=torch.zeros_like(inputs["input_ids"]))
    assert torch.equal(plain, typed)


def test_right_padding_inside_the_llm(llava):
    inputs, _ = batch(llava, 2)
    flipped = inputs | {name: inputs[name].flip(1) for name in ("input_ids", "attention_mask")}
    with (
        prune(llava.model, llava.processing, fastv(30)),
        pytest.raises(UserError, match="padded on the right"),
    ):
        generate(llava, flipped)


def test_positional_ids_and_max_length_mean_what_they_mean_without(llava):
    inputs, _ = batch(llava, 1)
    ids = inputs.pop("input_ids")
    length = ids.shape[1]
    plain = llava.model.generate(ids, **inputs, max_length=length + 3, do_sample=False)
    with prune(llava.model, llava.processing, Random(budget=40)):
        pruned = llava.model.generate(ids, **inputs, max_length=length + 3, do_sample=False)
    assert pruned.shape == plain.shape


def test_images_belong_to_their_rows(llava):
    """A row without an image in front of one with, and two images in one row."""
    processor, model = llava.processing, llava.model
    one, two = images(2)
    text = "USER: what shape is the ring? ASSISTANT:"
    with_image = llava.chat_prompt(QUESTIONS[0])
    mixed = llava.preprocess([[], [one]], [text, with_image])
    alone = llava.preprocess([[one]], [with_image])
    script = Script(budget=24)
    with prune(model, processor, script, relevance_sign=1):
        both, single = generate(llava, mixed), generate(llava, alone)
    assert both[1, -4:].tolist() == single[0, -4:].tolist()
    pair = llava.preprocess([[one, two]], [with_image.replace("<image>", "<image><image>")])
    for pruner in (script, fastv(24), NoPruning()):
        with prune(model, processor, pruner, relevance_sign=1):
            assert generate(llava, pair).shape[1] == pair["input_ids"].shape[1] + 4
    plain = generate(llava, pair)
    with prune(model, processor, NoPruning()):
        assert torch.equal(generate(llava, pair), plain)


def test_as_many_questions_as_rows(llava):
    inputs, _ = batch(llava, 2)
    with (
        prune(llava.model, llava.processing, Script(budget=4), relevance_sign=1, questions=["one"]),
        pytest.raises(UserError, match="questions has 1 entries: expected one for each of the 2 rows"),
    ):
        generate(llava, inputs)
    with (
        pytest.raises(UserError, match="relevance_sign=0: expected one of 1, -1"),
        prune(llava.model, llava.processing, Script(budget=4), relevance_sign=0),
    ):
        pass


def test_text_alone_passes_through(llava):
    ids = llava.processing.tokenizer("what color is the star ?", return_tensors="pt")["input_ids"]
    plain = llava.model.generate(input_ids=ids, max_new_tokens=3, do_sample=False)
    with prune(llava.model, llava.processing, Random(budget=4)):
        assert torch.equal(llava.model.generate(input_ids=ids, max_new_tokens=3, do_sample=False), plain)


def test_the_question_is_read_from_the_prompt(llava):
    inputs, _ = batch(llava, 3)
    wanted = [question.replace("star?", "star ?") for question in QUESTIONS]
    assert bare_questions(llava, inputs["input_ids"]) == wanted


def test_of_several_turns_the_question_cannot_be_told(llava):
    first, later = llava.chat_prompt("what is it?"), llava.chat_prompt("and now?").replace("<image>", "")
    inputs = llava.preprocess([images(1)], [f"{first} red {later}"])
    with pytest.raises(UserError, match=r"expected one turn .*questions=\[\.\.\.\]"):
        bare_questions(llava, inputs["input_ids"])


def test_a_system_prompt_may_have_the_words_of_the_reply(llava):
    """As "You are a helpful assistant." has those of Qwen's."""
    template = "ASSISTANT: yes USER: <image>\n{{ messages[0].content[1].text }} ASSISTANT:"
    processing = replace(llava.processing, chat_template=template)
    model = PrunableModel(llava.model, processing, llava.adapter, llava.query_encoder, llava.rules)
    ids = model.preprocess([images(1)], [model.chat_prompt("how many")])["input_ids"]
    assert bare_questions(model, ids) == ["how many"]
    with pytest.raises(UserError, match="expected one turn"):
        bare_questions(model, torch.cat([ids, ids[:, -1:]], dim=1))


def test_an_unknown_modality(llava):
    with (
        pytest.raises(SettingError, match="modality=picture: expected one of image, video"),
        prune(llava.model, llava.processing, Random(budget=4), modality="picture"),
    ):
        pass
    with (
        pytest.raises(
            SettingError, match="modality=video: expected image: LlavaForConditionalGeneration has no"
        ),
        prune(llava.model, llava.processing, Random(budget=4), modality="video"),
    ):
        pass


def test_a_clip_that_does_not_fit(llava, tmp_path):
    from checkpoints import save_clip

    wrong = save_clip(tmp_path / "clip", width=20, joint=8)
    with (
        pytest.raises(UserError, match="takes 20 features, but the model's vision tower has 32"),
        prune(llava.model, llava.processing, Script(budget=4), clip=wrong),
    ):
        pass
    with (
        pytest.raises(UserError, match=r"clip=.*no weights"),
        prune(llava.model, llava.processing, Script(budget=4), clip=tmp_path),
    ):
        pass


def test_lengths_from_any_place_count_the_callers_prompt(llava):
    inputs, _ = batch(llava, 1)
    length = inputs["input_ids"].shape[1]
    config = GenerationConfig(max_length=length + 3, do_sample=False, eos_token_id=None, pad_token_id=0)
    with prune(llava.model, llava.processing, Random(budget=40)):
        assert llava.model.generate(**inputs, generation_config=config).shape[1] == length + 3
        ids = inputs.pop("input_ids")
        assert llava.model.generate(ids, config, **inputs).shape[1] == length + 3


@pytest.mark.parametrize("name", ["position_ids", "past_key_values", "pixel_values_videos"])
def test_arguments_that_do_not_go_with_pruning(llava, name):
    inputs, _ = batch(llava, 1)
    with prune(llava.model, llava.processing, Random(budget=4)), pytest.raises(UserError, match=name):
        generate(llava, inputs, **{name: torch.zeros(1, 1)})


def test_preserved_positions_need_a_cache(llava):
    inputs, _ = batch(llava, 1)
    with (
        prune(llava.model, llava.processing, Random(budget=4), positions="preserved"),
        pytest.raises(UserError, match="use_cache=False: expected a cache"),
    ):
        generate(llava, inputs, use_cache=False)


def test_results_can_be_changed_in_place(llava):
    inputs, _ = batch(llava, 1)
    with prune(llava.model, llava.processing, Random(budget=4)):
        ids = generate(llava, inputs)
    ids[:, -1] = 7
    assert ids[0, -1] == 7


def test_random_tokens_differ_between_images_and_repeat_for_the_same(llava):
    with_image = llava.chat_prompt(QUESTIONS[0])
    one, two = images(2)
    pair = llava.preprocess([[one], [two]], [with_image] * 2)
    both = llava.preprocess([[one, two]], [with_image.replace("<image>", "<image><image>")])
    for inputs in (pair, both):
        first, second = select(llava.model, llava.processing, Random(budget=20), inputs)
        assert not torch.equal(first, second)
        again = select(llava.model, llava.processing, Random(budget=20), inputs)
        assert torch.equal(again[0], first)


def test_random_tokens_are_the_same_alone_in_a_padded_batch_and_in_another_dtype(llava, llava_folder):
    pictures, prompts = images(2), [llava.chat_prompt(question) for question in QUESTIONS[:2]]
    assert len(set(map(len, prompts))) == 2, "one row has to be padded"
    padded = llava.preprocess([[one] for one in pictures], prompts)
    for model in (llava, load(llava_folder, torch.bfloat16)):
        together = select(model.model, model.processing, Random(budget=20), padded)
        for picture, prompt, expected in zip(pictures, prompts, together, strict=True):
            inputs = model.preprocess([[picture]], [prompt])
            (alone,) = select(model.model, model.processing, Random(budget=20), inputs)
            assert torch.equal(alone, expected)


def test_questions_and_keys_of_each_call(llava):
    """A function is asked for every call; equal keys draw the same tokens of different images."""
    inputs, words = batch(llava, 3)
    calls = []

    def asked(ids):
        calls.append(tuple(ids.shape))
        return words[: len(ids)]

    first = {name: tensor[:1] for name, tensor in inputs.items()}
    with prune(llava.model, llava.processing, Script(budget=9), relevance_sign=1, questions=asked):
        together, alone = generate(llava, inputs), generate(llava, first)
    assert calls == [tuple(one["input_ids"].shape) for one in (inputs, first)]
    for one, expected in ((inputs, together), (first, alone)):
        own = words[: len(one["input_ids"])]
        with prune(llava.model, llava.processing, Script(budget=9), relevance_sign=1, questions=own):
            assert torch.equal(generate(llava, one), expected)
    random = Random(budget=9)
    same = select(llava.model, llava.processing, random, inputs, keys=lambda ids: ["a", "a", "b"])
    assert torch.equal(same[0], same[1])
    assert not torch.equal(same[0], same[2])
    encoded = llava.encode_images(inputs, random.reads)
    runner = llava.select(encoded, [0, 1, 2], random, None, ["a", "a", "b"])
    assert all(torch.equal(one, other.indices) for one, other in zip(same, runner, strict=True))
    with prune(llava.model, llava.processing, random, keys=["a", "a", "b"]):
        drawn = generate(llava, inputs)
    assert torch.equal(drawn[:, inputs["input_ids"].shape[1] :], _generated(llava, inputs, encoded, random))


def _generated(llava, inputs, encoded, pruner):
    prompt = llava.prune(inputs, encoded, pruner, None, ["a", "a", "b"])
    ids = llava.model.generate(**prompt.arguments, max_new_tokens=4, do_sample=False)
    return ids[:, prompt.arguments["input_ids"].shape[1] :]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"keys": ["a"]}, "keys has 1 entries: expected one for each of the 2 rows"),
        ({"keys": lambda ids: ["a"] * 3}, "keys has 3 entries"),
        ({"questions": lambda ids: "how many"}, "questions='how many': expected a list of texts"),
        ({"questions": [1, 2]}, r"questions=\[1, 2\]: expected a list of texts"),
    ],
)
def test_texts_that_do_not_fit_the_rows(llava, given, message):
    inputs, _ = batch(llava, 2)
    with (
        prune(llava.model, llava.processing, Random(budget=4), **given),
        pytest.raises(UserError, match=message),
    ):
        generate(llava, inputs)


def test_the_model_itself_is_not_called_with_images(llava):
    """Its loss and its log-likelihoods would be those of all visual tokens."""
    inputs, _ = batch(llava, 1)
    text = {name: tensor for name, tensor in inputs.items() if name in ("input_ids", "attention_mask")}
    text["input_ids"] = torch.ones_like(text["input_ids"])
    labels = inputs["input_ids"]
    plain = llava.model(**inputs, labels=labels).loss
    with prune(llava.model, llava.processing, Random(budget=4)):
        for call in (
            lambda: llava.model(**inputs, labels=labels),
            lambda: llava.model(labels, inputs["pixel_values"]),
        ):
            with pytest.raises(UserError, match=r"pixel_values: prune\(\) shortens only model.generate"):
                call()
        assert llava.model(**text).logits.isfinite().all()
        with prune(llava.model, llava.processing, NoPruning()):
            pass
        with pytest.raises(UserError, match="pixel_values"):
            llava.model(**inputs)
    assert torch.equal(llava.model(**inputs, labels=labels).loss, plain)


def test_a_question_that_cannot_be_found_is_asked_for(llava):
    inputs = llava.preprocess([images(1)], ["what is <image> this"])
    with (
        prune(llava.model, llava.processing, Script(budget=4), clip=None),
        pytest.raises(UserError, match=r"questions=\[\.\.\.\]"),
    ):
        generate(llava, inputs)


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json"])
def test_a_clip_without_its_small_files(llava_folder, tmp_path, missing):
    """transformers would make up a config, or a tokenizer that knows no word."""
    folder = shutil.copytree(llava_folder / "clip", tmp_path / "clip")
    (folder / missing).unlink()
    with pytest.raises(UserError, match=f"clip=.*no {missing}"):
        load(llava_folder, clip=str(folder))
