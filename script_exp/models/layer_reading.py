"""What one stage reads of the LLM, taken while the layer before it and its own first layer are entered."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn

from script_exp.errors import SettingError, UserError
from script_exp.models.attention_rows import attention_of, last_row, seen_from, softcap_of
from script_exp.models.devices import device_of
from script_exp.models.layer_kinds import LINEAR, kind_of, window_of
from script_exp.models.layer_sequence import LayerSequence, take_columns
from script_exp.pruners.contract.layer_pruner import LayerPruner
from script_exp.pruners.contract.layer_signals import LAST_ROW, LayerSignal, Rows, States


class StageReading:
    """The values of a stage's signals by row of the batch.

    The signals become known one after the other: :meth:`before` the layer before the stage, from the inputs
    of its :meth:`kernel`, and at the :meth:`entry` of the stage.

    Args:
        llm: the decoder.
        stage: the stage's first layer.
        signals: what is read.
        sequence: what the layer before the stage gets.
        embeddings: what entered the LLM, (batch, prompt's length, d); None if no stage reads it.
        rotary: cos and sin of ``sequence`` in the layer before the stage, (..., batch or 1, length, width).
    """

    def __init__(
        self,
        llm: Any,
        stage: int,
        signals: Collection[LayerSignal],
        sequence: LayerSequence,
        embeddings: Tensor | None,
        rotary: tuple[Tensor, ...],
    ) -> None:
        self.llm, self.stage, self.signals, self.sequence = llm, stage, sorted(signals, key=str), sequence
        self.rotary = rotary
        self.values: dict[LayerSignal, list[Tensor]] = defaultdict(list)
        kinds = {name.of for name in self.signals} | {"visual"}
        self.columns = {kind: _columns(sequence, kind) for kind in kinds}
        self._states("ones", self._ones)
        if embeddings is not None:
            self._states("embeddings", lambda: take_columns(embeddings, sequence.column))

    def before(self, hidden: Tensor) -> None:
        """Read the hidden states (batch, length, d) that enter the layer before the stage."""
        self._states("entering", lambda: hidden)
        self._projected_rows(hidden, self.rotary, own=False)

    def kernel(self, query: Tensor, key: Tensor, mask: Tensor | None, scaling: float) -> None:
        """Read what the attention kernel of the layer before the stage gets."""
        for name in self.signals:
            if name == LAST_ROW:
                every = last_row(query, key, mask, scaling, softcap_of(self.llm.config))
                self.values[name] = [
                    row[:, visual.to(row.device)]
                    for row, visual in zip(every, self.columns["visual"], strict=True)
                ]
            elif isinstance(name, Rows) and name.of_kernel:
                for row, columns in enumerate(self.columns[name.of]):
                    asking = query[row][:, columns.to(query.device)]
                    self._rows(name, row, asking, key[row], scaling, self.stage - 1)
        self._states("keys", lambda: key.transpose(1, 2).flatten(2))

    def entry(self, hidden: Tensor, rotary: tuple[Tensor, ...]) -> None:
        """Read the hidden states (batch, length, d) that enter the stage, before anything is dropped.

        ``rotary`` is of the stage's first layer, which may have another rope than the layer before.
        """
        self._states("leaving", lambda: hidden)
        self._states("normed", lambda: self.llm.norm(hidden.to(device_of(self.llm.norm))))
        self._projected_rows(hidden, rotary, own=True)
        if States("own_keys") in self.signals:
            self._own_keys(hidden, rotary)

    def of_row(self, row: int) -> dict[LayerSignal, Tensor]:
        """Return the signals of one row of the batch.

        Raises:
            RuntimeError: if the layers did not run that they come from.
        """
        missing = [name for name in self.signals if name not in self.values]
        if missing:
            raise RuntimeError(f"{missing} were not read before layer {self.stage}")
        device = self.sequence.token.device
        return {name: self.values[name][row].to(device) for name in self.signals}

    def _states(self, kind: str, compute: Callable[[], Tensor]) -> None:
        """Keep what ``compute`` returns, (batch or 1, length, ...), of the tokens of which it is read."""
        names = [name for name in self.signals if isinstance(name, States) and name.kind == kind]
        if not names:
            return
        every = compute()
        for name in names:
            columns = self.columns[name.of]
            rows = every.expand(len(columns), *every.shape[1:])
            self.values[name] = [
                row[own.to(row.device)].float() for row, own in zip(rows, columns, strict=True)
            ]

    def _ones(self) -> Tensor:
        """Return a vector of ones with positions, (batch or 1, length, width), in float32."""
        attention = self.llm.layers[self.stage - 1].self_attn
        cosines, sines = (part.float() for part in self.rotary)
        ones = cosines.new_ones(1, cosines.shape[1], attention.head_dim)
        return torch.cat([_rotated(attention, ones, *of_row) for of_row in zip(cosines, sines, strict=True)])

    def _projected_rows(self, hidden: Tensor, rotary: tuple[Tensor, ...], *, own: bool) -> None:
        """Compute rows with a layer's norm, q and k on the states that enter it, as far as they are read."""
        index = self.stage if own else self.stage - 1
        names = [
            name for name in self.signals if isinstance(name, Rows) and name.own == own and not name.of_kernel
        ]
        if not names:
            return
        layer = self.llm.layers[index]
        attention, normed = layer.self_attn, layer.input_layernorm(hidden.to(device_of(layer)))
        turns = [part.to(normed.device).expand(len(normed), -1, -1) for part in rotary]
        for name in names:
            for row, columns in enumerate(self.columns[name.of]):
                at = columns.to(normed.device)
                if name.of == "before_text":
                    self._mean_row(name, row, normed[row, at], attention)
                    continue
                query = self._queries(attention, normed[row, at])
                key = self._keys(attention, normed[row])
                if name.rotary:
                    cos, sin = (part[row] for part in turns)
                    query = _rotated(attention, query, cos[at], sin[at])
                    key = _rotated(attention, key, cos, sin)
                self._rows(name, row, query, key, attention.scaling, index)

    def _own_keys(self, hidden: Tensor, rotary: tuple[Tensor, ...]) -> None:
        """Compute the visual tokens' keys of the stage's first layer, with positions."""
        layer = self.llm.layers[self.stage]
        normed = layer.input_layernorm(hidden.to(device_of(layer)))
        turns = [part.to(normed.device).expand(len(normed), -1, -1) for part in rotary]
        for row, columns in enumerate(self.columns["visual"]):
            at = columns.to(normed.device)
            cos, sin = (part[row, at] for part in turns)
            key = self._keys(layer.self_attn, normed[row, at])
            key = _rotated(layer.self_attn, key, cos, sin)
            self.values[States("own_keys")].append(key.transpose(0, 1).flatten(1).float())

    def _mean_row(self, name: Rows, row: int, normed: Tensor, attention: Any) -> None:
        """Keep the attention of the mean query of ``normed`` (tokens before the text, d) to these tokens."""
        query = self._queries(attention, normed).mean(dim=1, keepdim=True)
        key = self._keys(attention, normed)
        before = self.columns[name.of][row]
        place = torch.full(self.sequence.token[row].shape, -1, device=before.device)
        place[before] = torch.arange(len(before), device=before.device)
        visual = place[self.columns["visual"][row]].to(normed.device)
        seen = torch.ones(1, len(before), dtype=torch.bool, device=normed.device)
        softcap = softcap_of(self.llm.config)
        row_of_mean = attention_of(query, key, seen, attention.scaling, visual, softcap=softcap)
        self.values[name].append(row_of_mean[:, 0])

    def _queries(self, attention: Any, normed: Tensor) -> Tensor:
        heads = self.llm.config.num_attention_heads
        return _heads(attention.q_proj(normed), heads, attention, "q_norm")

    def _keys(self, attention: Any, normed: Tensor) -> Tensor:
        heads = self.llm.config.num_key_value_heads
        return _heads(attention.k_proj(normed), heads, attention, "k_norm")

    def _rows(self, name: Rows, row: int, query: Tensor, key: Tensor, scaling: float, index: int) -> None:
        """Keep the attention of ``query`` (heads, rows, width) to ``key`` (key heads, length, width)."""
        token = self.sequence.token[row].to(key.device)
        rows, visual = (self.columns[kind][row].to(key.device) for kind in (name.of, "visual"))
        window, block = window_of(self.llm.config, index), self.sequence.block
        own = None if block is None else block[row].to(key.device)
        seen = seen_from(rows, token, window, own, in_window=self.sequence.block_in_window)
        softcap = softcap_of(self.llm.config)
        values = attention_of(query, key, seen, scaling, visual, name.heads, softcap)
        self.values[name].append(values[:, 0] if name.of == "last" else values)


def check_readable(llm: Any, signals: Collection[LayerSignal]) -> None:
    """Raise a :class:`UserError` for signals that need parts of a layer which the LLM does not have apart."""
    if not any(name.rotated or name.projected for name in signals):
        return
    attention = next(layer.self_attn for layer in llm.layers if hasattr(layer, "self_attn"))
    if any(name.rotated for name in signals):
        module = type(attention).__module__
        if not hasattr(sys.modules[module], "apply_rotary_pos_emb"):
            raise UserError(
                f"pruning inside the LLM: {module} has no apply_rotary_pos_emb: expected a method that reads "
                "what the model computes, such as fastv"
            )
    if any(name.projected for name in signals):
        apart = hasattr(attention, "q_proj") and hasattr(attention, "k_proj")
        norm = getattr(attention, "q_norm", None)
        if not apart or (norm is not None and norm.weight.shape != (attention.head_dim,)):
            raise UserError(
                f"pruning inside the LLM: {type(attention).__name__} has no q_proj and k_proj, plain or with "
                "a norm of each head: expected a method that reads what the model computes, such as fastv"
            )


def check_linear(config: Any, pruner: LayerPruner, layers: int) -> None:
    """Check that a method finds what it reads in an LLM some of whose layers are linear attention.

    Args:
        config: config of the LLM.
        pruner: the method.
        layers: decoder layers of the LLM.

    Raises:
        SettingError: if a stage reads the attention of such a layer, or merged tokens are weighed in it.
    """
    linear = {index for index in range(layers) if kind_of(config, index) == LINEAR}
    if linear and pruner.weighs:
        why = "merged tokens would have to be weighed in a mask, and linear attention has none"
        raise SettingError("pruner", type(pruner).__name__, f"a method that weighs no tokens: {why}")
    for number, stage in enumerate(pruner.checked_stages(layers)):
        read = {name.layer for name in pruner.reads_at(number) if name.layer is not None}
        lacking = linear & {stage + shift for shift in read}
        if lacking:
            ends = [at for at in range(1, layers) if not linear & {at + shift for shift in read}]
            listed = ", ".join(map(str, ends)) or "that this LLM does not have"
            raise SettingError(
                "pruner",
                type(pruner).__name__,
                f"stages at layers {listed}; at {stage} it reads layer {min(lacking)}, which is linear "
                "attention, where no token's attention to another can be read",
            )


def check_weighing(method: str, attention: str) -> None:
    """Raise a :class:`SettingError` for a kernel without a mask of numbers, which weighs merged tokens."""
    if attention not in ("sdpa", "eager"):
        raise SettingError(
            "attention", attention, f"sdpa or eager: {method} weighs merged tokens in the mask"
        )


def _columns(sequence: LayerSequence, of: str) -> list[Tensor]:
    """Return the columns of each row's tokens of a kind."""
    if of == "last":
        batch, length = sequence.token.shape
        return [torch.tensor([length - 1])] * batch
    tokens: Tensor = sequence.visual if of == "visual" else sequence.text
    if of == "before_text":
        tokens = sequence.visual | sequence.token & ~(tokens.cumsum(dim=1) > 0)
    return [row.nonzero()[:, 0] for row in tokens]  # waits for the device: rows have unequal numbers of them


def _heads(projected: Tensor, heads: int, attention: Any, norm: str) -> Tensor:
    """Return (heads, length, width) of (length, heads * width), each head normalized if ``norm`` exists.

    In LLMs that gate what a head reads, the gate stands behind the head's query and is left out.
    """
    split = torch.unflatten(projected, 1, (heads, -1))[..., : attention.head_dim]
    normed: Tensor = getattr(attention, norm, nn.Identity())(split)
    return normed.transpose(0, 1)


def _rotated(attention: Any, vectors: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return (heads, length, width) with positions, by the rotary embedding of the model's own module.

    Models differ in which places of a head make a pair, and in how many places turn at all.
    """
    rotate = sys.modules[type(attention).__module__].apply_rotary_pos_emb
    turned: Tensor = rotate(vectors[None], vectors[None, :0], cos[None], sin[None])[0]
    return turned[0]
