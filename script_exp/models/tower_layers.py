"""Skip the last layers of the vision tower if LLaVA reads an earlier one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

_ONE_AT_A_TIME = threading.RLock()  # two threads may use one model


def used_tower_layers(config: Any) -> int | None:
    """Return how many layers of the vision tower are needed; None if the config does not name the ones read.

    LLaVA and LLaVA-NeXT read ``hidden_states[-2]``: the output of the second-to-last layer.
    """
    read = getattr(config, "vision_feature_layer", None)
    if read is None:
        return None
    layers = config.vision_config.num_hidden_layers
    return max(one if one >= 0 else layers + 1 + one for one in ([read] if isinstance(read, int) else read))


@contextmanager
def unused_layers_skipped(model: Any) -> Iterator[None]:
    """Within the context, the vision tower's unread layers return their input.

    They stay in the tower, because transformers counts a negative ``vision_feature_layer`` from its end.
    """
    used = used_tower_layers(model.config)
    if used in (None, model.config.vision_config.num_hidden_layers):  # nothing to skip
        yield
        return
    unused = list(bare_tower(model).encoder.layers[used:])
    with _ONE_AT_A_TIME:
        own = [vars(layer).get("forward") for layer in unused]  # set by accelerate on a dispatched model
        try:
            for layer in unused:
                layer.forward = _hand_on
            yield
        finally:
            for layer, forward in zip(unused, own, strict=True):
                del layer.forward  # restores the method of the class
                if forward is not None:
                    layer.forward = forward


def bare_tower(model: Any) -> Any:
    """Return the transformer of a model's tower, with ``encoder`` and, if it is CLIP's or SigLIP's,
    ``post_layernorm``; some models wrap it in a tower.
    """
    core = model.model
    tower: nn.Module = core.vision_tower if hasattr(core, "vision_tower") else core.vision_model
    return getattr(tower, "vision_model", tower)


def _hand_on(hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
    return hidden_states
