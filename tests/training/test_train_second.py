"""Training for the second world: from the shipped weights, in parts, to a folder that loads."""

from dataclasses import replace

import pytest
import torch
from transformers import AutoProcessor, AutoTokenizer, LlavaForConditionalGeneration
from two_trainings import checkpoint, train_in_two

from script_exp.shapes.questions import held_out
from script_exp.tiny import WEIGHTS
from script_exp.training import train_joint, train_vision
from script_exp.training.packing import BEFORE_IMAGE
from script_exp.training.start import load_start
from script_exp.training.vision_features import text_embeddings, to_pixels
from script_exp.training.vocabulary import SECOND_WORDS, WORDS, encode


@torch.inference_mode()
def answer_scores(llava, scene, question):
    visual = llava.model.get_image_features(to_pixels(scene.image[None])).pooler_output[0]
    embed = llava.get_input_embeddings()
    words = [embed(torch.tensor(ids)) for ids in (BEFORE_IMAGE, encode(f"{question.text} assistant:"))]
    prompt = torch.cat([words[0], visual, words[1]])[None]
    return llava.lm_head(llava.model.language_model(inputs_embeds=prompt).last_hidden_state[0, -1])


def test_the_start_knows_what_the_shipped_weights_know_and_has_room_for_new_words():
    torch.manual_seed(0)
    stage, llava = load_start(WEIGHTS, len(SECOND_WORDS))
    shipped = LlavaForConditionalGeneration.from_pretrained(WEIGHTS)
    shipped.set_attn_implementation("eager")
    scene, questions = next(held_out(31, 1))
    for question in questions[:3]:
        scores = answer_scores(llava, scene, question)
        assert len(scores) == len(SECOND_WORDS)
        torch.testing.assert_close(scores[: len(WORDS)], answer_scores(shipped, scene, question))
    with torch.inference_mode():
        towers = [stage.clip.vision_model, shipped.model.vision_tower]
        states = [tower(to_pixels(scene.image[None])).last_hidden_state for tower in towers]
        torch.testing.assert_close(*states)
        ids = AutoTokenizer.from_pretrained(WEIGHTS / "clip")(questions[0].text, return_tensors="pt")
        pooled = stage.clip.text_model(**{name: ids[name] for name in ("input_ids", "attention_mask")})
        own = torch.nn.functional.normalize(stage.clip.text_projection(pooled.pooler_output), dim=-1)
        torch.testing.assert_close(text_embeddings(stage.clip, [questions[0].text]), own)
        cat, car = text_embeddings(stage.clip, ["a label with cat", "a label with car"])
    assert not torch.allclose(cat, car, atol=1e-3)


@pytest.mark.slow
def test_training_goes_on_where_it_was_cut_and_exports(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train_vision, "BATCHES", (4, 4, 2))
    small = tuple(replace(diet, batch=6, questions=8) for diet in train_joint.DIETS)
    monkeypatch.setattr(train_joint, "DIETS", small)
    weights = train_in_two(["--world", "2"], tmp_path, capsys)
    polished, joint = (checkpoint(tmp_path, stage)["module"] for stage in ("polish", "joint"))
    assert not torch.equal(polished["llava.lm_head.weight"], joint["llava.lm_head.weight"])
    model = LlavaForConditionalGeneration.from_pretrained(weights)
    assert torch.equal(model.lm_head.weight, polished["llava.lm_head.weight"])
    for tokenizer in (
        AutoProcessor.from_pretrained(weights).tokenizer,
        AutoTokenizer.from_pretrained(weights / "clip"),
    ):
        ids = tokenizer("what word is on the red label?", add_special_tokens=False)["input_ids"]
        assert ids == encode("what word is on the red label?", len(SECOND_WORDS))
        assert tokenizer.unk_token_id not in ids
