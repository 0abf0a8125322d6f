"""Compile the LLM's prefill with ``torch.compile``, so that a GPU does not wait for Python.

A short prompt of a 7B model keeps a GPU busy for less time than Python takes to launch the kernels, which
hides what pruning saves. The compiled prefill is one call for all layers, for prompts of any length.
"""

from __future__ import annotations

import gc
import inspect
import os
import shlex
import shutil
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException
from transformers import MODEL_MAPPING, AttentionInterface, DynamicCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_outputs import BaseModelOutputWithPast

from script_exp.errors import SettingError, UserError
from script_exp.models.cache_name import CACHE
from script_exp.models.layer_kinds import LINEAR

# Before torch 2.13, transformers passes sdpa an explicit causal mask while compiling, which rules out flash
# attention. For a kernel that it does not know, it makes no mask; is_causal is enough without padding.
_CAUSAL = "sdpa_causal"
AttentionInterface.register(_CAUSAL, sdpa_attention_forward)

# The arguments of a prefill. The compiled one ignores the mask, which is all ones for one prompt, and
# logits_to_keep, because the decoder computes no logits.
_ARGUMENTS = {
    "inputs_embeds", "position_ids", CACHE, "attention_mask", "use_cache", "logits_to_keep",
}  # fmt: skip


# What the forward of a decoder takes besides these, the compiled prefill would not pass on.
_PLAIN = {*_ARGUMENTS, "input_ids", "kwargs"}


class CompiledPrefill:
    """Replaces the ``forward`` of an LLM: the prefill of a single prompt runs compiled, all else as before.

    A single prompt has no padding. Not compiled are decoding steps, batches of several prompts, and calls
    with arguments that a prefill does not use.

    Attributes:
        records_graphs: whether CUDA graphs are recorded, one per prompt length.
    """

    def __init__(self, llm: Any, mode: str, backend: str | Callable[..., Any]) -> None:
        self.llm, self.original = llm, llm.forward
        self.records_graphs = mode == "reduce-overhead"
        self.run = torch.compile(self._run, mode=mode, backend=backend, dynamic=True, fullgraph=True)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        embeddings, cache = kwargs.get("inputs_embeds"), kwargs.get(CACHE)
        started = cache is not None and cache.get_seq_length() > 0
        given = {name for name, value in kwargs.items() if value is not None and value is not False}
        if embeddings is None or len(embeddings) > 1 or started or args or given - _ARGUMENTS:
            return self.original(*args, **kwargs)
        mask = kwargs.get("attention_mask")
        if mask is not None and (not isinstance(mask, Tensor) or mask.ndim != 2):
            raise UserError(
                "model.compile: expected off; this model says in masks of its own which tokens see each other"
            )
        config = self.llm.config
        attention, config._attn_implementation = config._attn_implementation, _CAUSAL
        try:
            hidden, keys, values = self.run(embeddings, kwargs.get("position_ids"))
        finally:
            config._attn_implementation = attention
        cache = DynamicCache(config=config) if cache is None else cache
        for layer, (key, value) in enumerate(zip(keys, values, strict=True)):
            cache.update(key, value, layer)  # copies: the next replay of a CUDA graph overwrites its outputs
        return BaseModelOutputWithPast(last_hidden_state=hidden, **{CACHE: cache})

    def _run(
        self, embeddings: Tensor, position_ids: Tensor | None
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        cache = DynamicCache(config=self.llm.config)
        output = self.original(
            inputs_embeds=embeddings, position_ids=position_ids, use_cache=True, **{CACHE: cache}
        )
        layers = cache.layers
        return output.last_hidden_state, [layer.keys for layer in layers], [layer.values for layer in layers]


def compile_prefill(llm: Any, mode: str, backend: str | Callable[..., Any] = "inductor") -> None:
    """Compile a decoder in place and test it.

    Args:
        llm: the decoder.
        mode: mode of ``torch.compile``; ``reduce-overhead`` records CUDA graphs.
        backend: backend of ``torch.compile``.

    Raises:
        UserError: if it cannot be compiled, or takes arguments that a plain decoder does not have.
    """
    _check_arguments(mode, llm.forward)
    llm.forward = CompiledPrefill(llm, mode, backend)
    weights = next(llm.parameters())
    prompt = torch.zeros(1, 8, llm.config.hidden_size, dtype=weights.dtype, device=weights.device)
    try:
        with torch.no_grad():
            llm(inputs_embeds=prompt, use_cache=True)
    except TorchDynamoException as error:
        why = " ".join(str(error).strip().splitlines()[:2])
        raise UserError(
            f"model.compile={mode}: expected off; torch cannot compile this LLM here: {why}"
        ) from error


def is_compiled(llm: Any) -> bool:
    """Return whether :func:`compile_prefill` has compiled a decoder."""
    return isinstance(llm.forward, CompiledPrefill)


def forget_compiled() -> None:
    """Free compiled code and the models that it keeps alive; torch limits how much it keeps."""
    torch.compiler.reset()
    gc.collect()


def check_compile(mode: str, llm_config: Any, attention: str, device: torch.device, in_llm: bool) -> None:
    """Check that a model can be compiled here.

    Args:
        mode: ``model.compile``.
        llm_config: config of the decoder.
        attention: the attention kernel.
        device: the device of the model.
        in_llm: whether the pruner works inside the LLM.

    Raises:
        SettingError: if it cannot be compiled.
    """
    if mode == "off":
        return
    if in_llm:
        raise SettingError("model.compile", mode, "off: this pruner changes the LLM between its layers")
    if attention != "sdpa":
        raise SettingError("model.compile", mode, f"off with attention={attention}; or attention=sdpa")
    if "sliding_attention" in (getattr(llm_config, "layer_types", None) or ()) or getattr(
        llm_config, "sliding_window", None
    ):
        raise SettingError("model.compile", mode, "off: the LLM of this model has a sliding window")
    if LINEAR in (getattr(llm_config, "layer_types", None) or ()):
        raise SettingError("model.compile", mode, "off: the LLM of this model has linear attention")
    decoder = MODEL_MAPPING.get(type(llm_config), None)
    if decoder is not None:
        _check_arguments(mode, decoder.forward)
    variable, usual = ("CXX", ("g++",)) if device.type == "cpu" else ("CC", ("gcc", "clang"))
    given = os.environ.get(variable)
    compilers = (shlex.split(given)[0],) if given else usual
    if not any(map(shutil.which, compilers)):
        expected = f"off: torch.compile needs {' or '.join(compilers)}, which is not on the PATH"
        raise SettingError("model.compile", mode, expected)


def _check_arguments(mode: str, forward: Callable[..., Any]) -> None:
    """Check that a prefill of a decoder needs no argument that :class:`CompiledPrefill` does not pass on."""
    more = inspect.signature(forward).parameters.keys() - {*_PLAIN, "self"}
    if more:
        names = ", ".join(sorted(more))
        raise SettingError("model.compile", mode, f"off: the LLM of this model also takes {names}")
