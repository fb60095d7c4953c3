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
        request_index: `[N]`, ascending.

    Returns:
        `[N, K]`.
    """
    bias = np.asarray(kind.bias, np.float32)
    if request is None:
        return candidate + bias
    if kind.type == "sum":
        return (request if len(request) == 1 else request[request_index]) + candidate + bias
    logits = np.empty((len(candidate), len(bias)), np.float32)
    for row, (first, last) in enumerate(rows_of_requests(len(request), request_index)):
        for k in range(len(bias)):
            np.matmul(candidate[first:last, min(k, candidate.shape[1] - 1)], request[row, k], out=logits[first:last, k])
    return logits + bias


def rows_of_requests(requests: int, request_index: Int64) -> list[tuple[int, int]]:
    """Returns the candidates of each request: from which to which.

    Args:
        requests: R.
        request_index: `[N]`, ascending.
    """
    if requests == 1:  # of a server that answers one at a time: the search costs a third of its product
        return [(0, len(request_index))]
    ends = np.searchsorted(request_index, np.arange(requests), side="right").tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True))
