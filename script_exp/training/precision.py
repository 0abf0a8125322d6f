"""In which precision training multiplies matrices: the processor's choice, not the recipe's."""

from __future__ import annotations

import torch

_FAST_BF16 = ("AVX512", "AMX")


def matrix_dtype() -> torch.dtype:
    """bfloat16 where the processor multiplies fast in it, else float32.

    On a processor with AVX2 only, the backward pass of a linear layer took 13 times as long in bfloat16.
    """
    fast = torch.backends.cpu.get_cpu_capability().startswith(_FAST_BF16)
    return torch.bfloat16 if fast else torch.float32


def mixed_precision() -> torch.autocast:
    """Multiply matrices in :func:`matrix_dtype` and keep everything else in float32."""
    return torch.autocast("cpu", torch.bfloat16, enabled=matrix_dtype() == torch.bfloat16)
