"""What the device of a run computes fast."""

from __future__ import annotations

import time
from functools import cache

import torch
from torch.nn import functional

_FASTER = 1.3
"""A product in bfloat16 must be so many times as fast: the rest of a step gains nothing, and converting costs."""
_ROWS, _IN, _OUT = 2048, 512, 256
_TURNS = 15


def bfloat16_pays(use_cuda: bool) -> bool:
    """Says whether matrix products in bfloat16 are faster than in float32 on the device of the run.

    A GPU: compute capability 8 and later. A processor: one with instructions for them (AMX or AVX512-BF16; ARM: BF16),
    if a product, timed here, is 1.3 times as fast, which takes some tenths of a second. Instructions alone do
    not tell: AVX512-BF16 without AMX was half as fast as float32 on one processor. Without instructions products are
    emulated, and slower.

    Args:
        use_cuda: Whether the run is on GPUs.
    """
    if use_cuda:
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return _has_instructions() and _speedup() >= _FASTER


def _has_instructions() -> bool:
    ask = getattr(torch.cpu, "get_capabilities", None)
    if ask is None:  # before torch 2.12
        return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
    return any(known is True and name.endswith("bf16") for name, known in ask().items())


@cache
def _speedup() -> float:
    """Seconds of a float32 product over those of a bfloat16 one: the least of some turns each, taken alternately.

    They are the thread's seconds on a processor, to which other programs add little.
    """
    best: dict[torch.dtype, float] = {}
    pairs = [
        (torch.ones(_ROWS, _IN, dtype=kind), torch.ones(_OUT, _IN, dtype=kind))
        for kind in (torch.float32, torch.bfloat16)
    ]
    for turn in range(_TURNS + 2):
        for left, right in pairs:
            start = time.thread_time()
            functional.linear(left, right)
            seconds = time.thread_time() - start
            if turn >= 2:  # the first ones make threads and kernels
                best[left.dtype] = min(best.get(left.dtype, seconds), seconds)
    return best[torch.float32] / best[torch.bfloat16]
