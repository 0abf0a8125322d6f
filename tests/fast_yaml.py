"""YAML of configs read by libyaml: in tests, a third of composing a config is its parsing.

omegaconf's rules stay; ``test_fast_yaml.py`` compares the two parsers.
"""

from __future__ import annotations

from functools import cache

import omegaconf._utils
import omegaconf.basecontainer
import yaml

of_omegaconf = omegaconf._utils.get_yaml_loader


@cache
def loader() -> type[yaml.CSafeLoader]:
    """omegaconf's loader (duplicate keys, floats, paths) with libyaml's parser."""
    slow = of_omegaconf()
    parts = {name: value for name, value in vars(slow).items() if not name.startswith("__")}
    return type("FastLoader", (yaml.cyaml.CParser, slow), parts | {"__init__": _init})


def _init(self, stream):
    yaml.cyaml.CParser.__init__(self, stream)
    yaml.constructor.SafeConstructor.__init__(self)
    yaml.resolver.Resolver.__init__(self)


def install() -> None:
    omegaconf._utils.get_yaml_loader = loader
    omegaconf.basecontainer.get_yaml_loader = loader
