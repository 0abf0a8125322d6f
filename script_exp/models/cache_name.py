"""What transformers calls the cache in arguments and outputs: ``cache`` from release 5.24 on."""

from __future__ import annotations

from transformers.modeling_outputs import BaseModelOutputWithPast

_FIELDS = BaseModelOutputWithPast.__dataclass_fields__
CACHE = "cache" if "cache" in _FIELDS else "past_key_values"
