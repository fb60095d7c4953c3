"""Interactions of vectors that need no program: dot products and sums."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from distill.encodings.arrow import Int64
from distill.serving.manifest import Interaction

Float32 = npt.NDArray[np.float32]


def combine(kind: Interaction, request: Float32 | None, candidate: Float32, request_index: Int64) -> Float32:
    """Returns logits.

    Args:
        kind: Anything but a program.
        request: `[R, K, D]` of `dot`, `[R, K]` of `sum`; None of `item`.
        candidate: `[N, K or 1, D]` of `dot`, else `[N, K]`.
        request_index: `[N]`.

    Returns:
        `[N, K]`.
    """
    bias = np.asarray(kind.bias, np.float32)
    if request is None:
        return candidate + bias
    own = request if len(request) == 1 else request[request_index]
    if kind.type == "sum":
        return own + candidate + bias
    logits: Float32 = (own * candidate).sum(-1) + bias
    return logits
