"""The fast YAML loader of tests reads what omegaconf's reads."""

from __future__ import annotations

from pathlib import Path

import fast_yaml
import omegaconf._utils
import pytest
import yaml

CONF = Path(__file__).resolve().parent.parent / "conf"
VALUES = ["", "~", "2020-01-01", "1e3", "12:30", ".nan", "!!python/object/apply:pathlib.Path [x]"]


def test_equal_values():
    of_omegaconf = fast_yaml.of_omegaconf()
    for text in [*VALUES, *(file.read_text() for file in CONF.rglob("*.yaml"))]:
        assert repr(yaml.load(text, fast_yaml.loader())) == repr(yaml.load(text, of_omegaconf)), text


@pytest.mark.parametrize("text", ["a: 1\na: 2", "a: [1", "a: !!python/object/new:os.system [ls]", "a: \x00"])
def test_equal_errors(text):
    for loader in (fast_yaml.of_omegaconf(), fast_yaml.loader()):
        with pytest.raises(yaml.YAMLError):
            yaml.load(text, loader)


def test_it_is_in_use():
    assert omegaconf._utils.get_yaml_loader() is fast_yaml.loader()
