"""Floating-point operations as torch counts them."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode


def counted(call):
    """Operations of a call: torch sees every matrix product but those inside the CPU's fused attention."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()
