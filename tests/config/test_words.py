"""Words that Hydra cannot read are named, with the quotes that they need."""

from __future__ import annotations

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from script_exp.config.command_line import check_arguments
from script_exp.config.words import check_words, parse_words, quoted
from script_exp.errors import UserError

FOLDERS = [
    "/data/run=1", "/data/it's", '/data/a "b" c', "/daten/müller", "/数据", "/a{b}", "/a(b",
    "~/data#1", "[x", "a\\'b", "/with\ttab=", "😀",
]  # fmt: skip


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_message_shows_a_word_that_works(folder):
    """What it shows is what a shell makes the word that Hydra reads as the folder."""
    with pytest.raises(UserError, match="expected the value in quotes: ") as refused:
        check_words([f"data={folder}"])
    message = refused.value.args[0]  # str() shows control characters by their escapes
    assert message.startswith(f"data={folder}: ")
    (word,) = shlex.split(message.split("expected the value in quotes: ", 1)[1])
    check_words([word])
    assert OverridesParser.create().parse_override(word).value() == folder


@pytest.mark.parametrize(
    "word", ["data=/a b", "budget=64,32", "~pruner.seed", "+pruner.more=[1,2]", "limit="]
)
def test_words_that_hydra_reads(word):
    check_words([word])


@pytest.mark.parametrize("word", ["script", "müll", "a b"])
def test_a_word_without_a_key(word):
    with pytest.raises(UserError, match=r"expected key=value, such as pruner=script$"):
        check_words([word])


def test_a_key_that_cannot_be():
    with pytest.raises(UserError, match=r"^mü=1: expected key=value, where the key has letters"):
        check_words(["mü=1"])


def test_values_of_options_are_no_overrides():
    given = parse_words(["--cfg", "job", "pruner=script", "-m", "--config-dir", "mine", "budget=64"])
    assert given.overrides == ["pruner=script", "budget=64"]
    assert given.config_dir == "mine"


def test_quoted_is_read_as_the_same_text():
    for folder in FOLDERS:
        assert OverridesParser.create().parse_override(f"data={quoted(folder)}").value() == folder


def test_configs_of_the_user(tmp_path):
    (tmp_path / "pruner").mkdir()
    (tmp_path / "pruner" / "mine.yaml").write_text(
        "_target_: script_exp.pruners.RandomPruner\nname: mine\nseed: 1\n"
    )
    for given in (
        ["--config-dir", str(tmp_path)],
        ["-cd", str(tmp_path)],
        [f"hydra.searchpath=[{tmp_path}]"],
    ):
        check_arguments([*given, "pruner=mine", "budget=8"])
        with pytest.raises(UserError, match=r"pruner=yours: expected one of .*mine"):
            check_arguments([*given, "pruner=yours"])
        with pytest.raises(UserError, match=r"pruner.more=1: expected one of the keys .*seed"):
            check_arguments([*given, "pruner=mine", "pruner.more=1"])
    with pytest.raises(UserError, match=r"--config-dir /nowhere: expected a folder"):
        check_arguments(["--config-dir", "/nowhere", "pruner=mine"])
