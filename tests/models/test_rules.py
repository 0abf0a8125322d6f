"""Rules that depend on the model rather than on the method: their values for each model, and their effect."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hydra import compose, initialize_config_dir
from small_llava import batch

from script_exp.cell.prepared import RunCell
from script_exp.config.command_line import CONF
from script_exp.config.settings import RunSettings
from script_exp.errors import SettingError
from script_exp.models.families.qwen2_5_vl import Qwen25VLAdapter
from script_exp.models.families.registry import ADAPTERS, has_clip_tower
from script_exp.models.loading.architectures import ARCHITECTURES
from script_exp.models.prunable import PrunableModel
from script_exp.models.rules import PruningRules
from script_exp.pruners import QueryConditioned, Trim
from script_exp.pruners.contract.signals import Reads

# relevance_sign, positions, newline, conversation
LLAVA = (
    -1,
    "contiguous",
    "keep",
    "vicuna_v1",
)  # OpenAI's CLIP at layer -2: TRIM and CDPruner found it inverted
WORDS = (1, "contiguous", "keep", "chat_template")  # compared in the LLM's input space
PLACES = (1, "preserved", "keep", "chat_template")  # positions are places in the picture
RULES = {
    "tiny": (
        1,
        "contiguous",
        "keep",
        "chat_template",
    ),  # trained so that the similar patches are the relevant ones
    "tiny_video": (1, "contiguous", "keep", "chat_template"),
    "tiny_2": (1, "contiguous", "keep", "chat_template"),
    "tiny_next": (1, "contiguous", "keep", "chat_template"),
    "llava_1_5_7b": LLAVA,
    "llava_1_5_13b": LLAVA,
    "llava_next_7b": LLAVA,
    "llava_next_13b": LLAVA,
    "llava_next_video_7b": LLAVA,
    "llava_onevision_7b": WORDS,
    **{f"qwen2_5_vl_{size}": PLACES for size in ("3b", "7b", "32b", "72b")},
    **{f"internvl3_{size}": WORDS for size in ("1b", "2b", "8b", "14b", "38b", "78b")},
    **{f"internvl3_5_{size}": WORDS for size in ("1b", "2b", "4b", "8b", "14b", "30b_a3b", "38b")},
    **{f"smolvlm2_{size}": WORDS for size in ("256m", "500m", "2b")},
    "idefics3_8b": WORDS,
    "glm_4_1v_9b": PLACES,
    "mistral_small_3_1_24b": WORDS,
    **{f"paligemma{size}": (*WORDS[:3], "paligemma") for size in ("_3b", "2_3b", "2_10b", "2_28b")},
    **{f"gemma3_{size}": WORDS for size in ("4b", "12b", "27b")},
    **{f"qwen2_vl_{size}": PLACES for size in ("2b", "7b", "72b")},
    **{f"qwen3_5_{size}": PLACES for size in ("9b", "27b", "35b_a3b")},
    **{f"qwen3_vl_{size}": PLACES for size in ("2b", "4b", "8b", "32b", "30b_a3b", "235b_a22b")},
}


@pytest.fixture(autouse=True, scope="module")
def conf():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def settings(*overrides):
    return RunSettings.from_config(compose("config", list(overrides)))


def test_the_message_about_positions_names_no_other_family():
    """Families with places as positions share an adapter."""
    for adapter in (Qwen25VLAdapter, Qwen25VLAdapter.video):
        with pytest.raises(SettingError, match=r"of this family are places in the (picture|video)$"):
            adapter.check_rules(PruningRules(1, "contiguous", "keep"))


def test_every_model_has_a_line():
    assert {file.stem for file in (CONF / "model").glob("*.yaml")} == RULES.keys()


@pytest.mark.parametrize("name", RULES)
def test_a_model_has_its_rules(name):
    model = settings(f"model={name}").model
    assert (model.relevance_sign, model.positions, model.newline, model.conversation) == RULES[name]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_published_model_has_the_rules_of_its_family(name):
    """Those of ``prune(...)``; the inversion is one of CLIP's layer -2."""
    config, rules = ARCHITECTURES[name](), settings(f"model={name}").model.rules
    assert rules == ADAPTERS[config.model_type].default_rules
    assert (rules.relevance_sign == -1) == (has_clip_tower(config) and config.vision_feature_layer == -2)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_sign_of_the_rules_tells_which_end_is_kept(llava, sign):
    rules = replace(llava.rules, relevance_sign=sign)
    model = PrunableModel(llava.model, llava.processing, llava.adapter, llava.query_encoder, rules)
    inputs, questions = batch(model, 1)
    images, queries = model.encode_images(inputs, Reads(joint=True)), model.encode_queries(questions)
    assert [query.sign for query in queries] == [sign]
    patches, question = images[0].visual.joint[0], queries[0].embeddings[0]
    products = patches @ question
    cosines = products / patches.norm(dim=-1)
    for pruner, similarity in (
        (Trim(budget=20, aggregate=False), products),
        (QueryConditioned(budget=1), cosines),
    ):
        (kept,) = model.prune(inputs, images, pruner, queries).kept
        end = similarity.topk(pruner.budget, largest=sign == 1).indices
        assert kept.indices[0].tolist() == sorted(end.tolist())


def test_cells_that_share_a_model_have_rules_of_their_own():
    for rules in (PruningRules(1, "contiguous", "keep"), PruningRules(-1, "preserved", "drop")):
        overrides = [f"model.{key}={value}" for key, value in vars(rules).items()]
        assert RunCell.prepare(settings("device=cpu", *overrides)).load().rules == rules
