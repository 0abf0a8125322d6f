"""Read what methods declare of a tower for crops of one size, which keeps its fast attention kernel."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from script_exp.errors import SettingError, UserError
from script_exp.models.attention_rows import attention_inputs
from script_exp.models.tower_layers import bare_tower, used_tower_layers
from script_exp.pruners.contract.signals import Signal

_FLAT = {"flat_saliency", "flat_keys"}
_LARGEST = 2**22
"""Attention scores held at once, per crop."""


class TowerNames(NamedTuple):
    """What a tower calls its parts; the defaults are CLIP's and SigLIP's names.

    Attributes:
        layers: path from the tower to its layers.
        attention: a layer's attention, with ``q_proj`` and ``k_proj``.
        norm: the normalization before it.
    """

    layers: str = "encoder.layers"
    attention: str = "self_attn"
    norm: str = "layer_norm1"


CLIP_NAMES = TowerNames()


def check_signals(signals: Collection[Signal], config: Any, *, has_class: bool) -> None:
    """Check that a tower for crops of one size has these signals.

    Args:
        signals: what a method reads.
        config: config of the model.
        has_class: whether the tower's sequence begins with a class token.

    Raises:
        UserError: if it has no class token, and one of them is about it.
        SettingError: for a layer that it lacks.
    """
    layers, read = config.vision_config.num_hidden_layers, _read_layer(config)
    for signal in sorted(signals):
        if signal.kind in ("cls", "class_token") and not has_class:
            raise UserError(cannot_read(signal, "saliency, received, keys, flat_saliency or flat_keys"))
        last = layers - 1 - read if signal.kind in _FLAT else 0
        if not 0 <= index_of(signal, read) <= read + last:
            raise SettingError(
                "layer",
                signal.layer,
                f"{-read} to {last}, where 0 is the layer of the tower that is read, or a share in (0, 1)",
            )


def cannot_read(signal: Signal, has: str) -> str:
    """Return what is wrong with a signal of a kind that a tower lacks, which ``has`` others."""
    return (
        f"{signal.kind} cannot be read from this model's vision tower: expected a method, or settings of it, "
        f"that read {has}"
    )


@contextmanager
def tower_signals(
    model: Any, signals: Collection[Signal], names: TowerNames, *, has_class: bool
) -> Iterator[Mapping[Signal, Tensor]]:
    """Within the context, every forward pass of a model's tower puts its signals into the dictionary.

    They belong to the patches that ``vision_feature_select_strategy`` selects, for all crops of the batch.
    ``has_class`` says whether the tower's sequence begins with a class token.
    """
    found: dict[Signal, Tensor] = {}
    config = model.config
    layers = attrgetter(names.layers)(bare_tower(model))
    first = int(has_class and config.vision_feature_select_strategy == "default")
    read = _read_layer(config)
    with ExitStack() as hooks:
        for index in sorted({index_of(signal, read) for signal in signals}):
            layer, attention = layers[index], getattr(layers[index], names.attention)
            wanted = [signal for signal in signals if index_of(signal, read) == index]
            flat = [signal for signal in wanted if signal.kind in _FLAT]
            if flat:
                see = partial(_see_flat, found, flat, names, has_class=has_class, first=first)
                hooks.callback(layer.register_forward_pre_hook(see).remove)
            if any(signal.kind == "class_token" for signal in wanted):
                hooks.callback(layer.register_forward_hook(partial(_see_class_token, found)).remove)
            inside = [signal for signal in wanted if signal.kind not in (*_FLAT, "class_token")]
            if inside:
                receive = partial(_see_attention, found, inside, has_class=has_class, first=first)
                hooks.enter_context(attention_inputs(attention, receive))
        yield found


def index_of(signal: Signal, read: int) -> int:
    """Return the index of a signal's layer in a tower of which the model reads layer ``read``."""
    if isinstance(signal.layer, int):
        return read + signal.layer
    return max(0, round(signal.layer * (read + 1)) - 1)


def received(query: Tensor, key: Tensor, scaling: float) -> Tensor:
    """Return the attention that each key receives, (crops, keys): mean over heads and queries, in float32.

    Args:
        query, key: (crops, heads, tokens, width).
        scaling: factor of the scores.
    """
    crops, heads, queries, _ = query.shape
    total = torch.zeros(crops, key.shape[2], dtype=torch.float32, device=key.device)
    rows = max(1, _LARGEST // key.shape[2])
    for head in range(heads):
        keys = key[:, head].float().mT
        for part in torch.split(query[:, head].float(), rows, dim=1):
            total += ((part @ keys) * scaling).softmax(dim=-1).sum(dim=1)
    return total / (heads * queries)


def by_image(signals: Mapping[Signal, Tensor], crops: Sequence[int]) -> list[dict[Signal, Tensor]]:
    """Split the signals of a batch's crops into those of its images."""
    parts = {signal: torch.split(values, list(crops)) for signal, values in signals.items()}
    return [{signal: own[image] for signal, own in parts.items()} for image in range(len(crops))]


def per_token(change: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """Apply a change of tokens (crops, n, width) to a signal (crops, n) or (crops, n, width)."""
    return change(values[..., None])[..., 0] if values.ndim == 2 else change(values)


def _read_layer(config: Any) -> int:
    """Return the index of the layer whose output the model reads; -1 if that is the embeddings."""
    used = used_tower_layers(config)
    return (config.vision_config.num_hidden_layers if used is None else used) - 1


def _class_row(query: Tensor, key: Tensor, scaling: float) -> Tensor:
    """Return the class token's attention (crops, keys): mean over the heads, in float32."""
    scores = (query[:, :, :1].float() @ key.float().mT) * scaling
    return scores.softmax(dim=-1).mean(dim=1)[:, 0]


def _see_attention(
    found: dict[Signal, Tensor],
    signals: Sequence[Signal],
    query: Tensor,
    key: Tensor,
    mask: Tensor | None,
    scaling: float,
    *,
    has_class: bool,
    first: int,
) -> None:
    for signal in signals:
        if signal.kind == "keys":
            found[signal] = key.float().mean(dim=1)[:, first:]
        elif signal.kind == "received" or not has_class:
            found[signal] = received(query, key, scaling)[:, first:]
        else:
            found[signal] = _class_row(query, key, scaling)[:, first:]


def _see_flat(
    found: dict[Signal, Tensor],
    signals: Sequence[Signal],
    names: TowerNames,
    layer: Any,
    args: tuple[Tensor, ...],
    *,
    has_class: bool,
    first: int,
) -> None:
    """Compute a layer's q and k as one head from its input; the layer itself need not run."""
    states, attention = getattr(layer, names.norm)(args[0]), getattr(layer, names.attention)
    key = _normed(attention, "k", attention.k_proj(states))
    for signal in signals:
        if signal.kind == "flat_keys":
            found[signal] = key.float()[:, first:]
            continue
        asking = states[:, :1] if has_class else states
        query = _normed(attention, "q", attention.q_proj(asking))[:, None]
        rows = _class_row if has_class else received
        found[signal] = rows(query, key[:, None], key.shape[-1] ** -0.5)[:, first:]


def _normed(attention: Any, name: str, values: Tensor) -> Tensor:
    """Return q or k as an attention normalizes it over all heads, if it does."""
    norm = getattr(attention, f"{name}_norm", None)
    return values if norm is None else norm(values)


def _see_class_token(found: dict[Signal, Tensor], _: nn.Module, __: Any, output: Any) -> None:
    states = output[0] if isinstance(output, tuple) else output
    found[Signal("class_token")] = states[:, 0]
