"""What the device of a run computes natively."""

from __future__ import annotations

import torch


def computes_bfloat16(use_cuda: bool) -> bool:
    """Says whether matrix products in bfloat16 are instructions of the device: AMX or AVX512-BF16 (ARM: BF16) of the
    processor, compute capability 8 and later of a GPU. Elsewhere they are emulated, and slower than float32.

    Args:
        use_cuda: Whether the run is on GPUs.
    """
    if use_cuda:
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    ask = getattr(torch.cpu, "get_capabilities", None)
    if ask is None:  # before torch 2.12
        return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
    return any(known is True and name.endswith("bf16") for name, known in ask().items())
