"""What greedy re-ranking maximises at each place: relevance, marginal relevance (MMR), or the determinant of a DPP."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

FLOOR = 1e-5  # of d²: beyond it float32 does not tell a candidate from what was chosen
_NO_VECTOR = 1e-6  # of the largest norm of the request
_LARGEST_INVERSE = (
    1e4  # of (V Vᵀ)⁻¹ on its diagonal, 1/d² of a chosen vector beside the others: then all is computed anew
)
_LEAST_LENGTH = 1e-4  # of a direction that chosen vectors span


class Criterion(Protocol):
    """Gains of N candidates, given those that were chosen."""

    def values(self) -> Float64:
        """Returns the gain of each candidate `[N]`; −inf of those that it cannot tell from the chosen ones."""

    def add(self, chosen: int) -> None:
        """Takes in the next chosen candidate."""


def standardised(score: npt.NDArray[Any]) -> Float64:
    """Returns z = (s − mean)/std over the candidates of a request whose score is finite; −inf of the others.

    Equal scores have z = 0. So a trade-off weighs one standard deviation of the score against one unit of similarity,
    in each request.

    Args:
        score: `[N]`.
    """
    finite = np.isfinite(score)
    known = score[finite].astype(np.float64)
    z = np.full(len(score), -np.inf)
    if len(known):
        centred = known - known.mean()
        spread = float(np.sqrt(np.mean(centred * centred)))
        z[finite] = centred / spread if spread > 0 else 0.0
    return z


def unit_vectors(vectors: npt.NDArray[Any]) -> Float32:
    """Returns vectors of length 1 `[N, D]`, whose dot products are cosines.

    A vector that is not finite, or nothing beside the longest one, becomes zero: it is like no other.

    Args:
        vectors: `[N, D]`.
    """
    rows = np.asarray(vectors, np.float32)
    if not np.isfinite(rows).all():
        rows = np.where(np.isfinite(rows).all(1, keepdims=True), rows, np.float32(0))
    largest = max(float(rows.max(initial=0.0)), -float(rows.min(initial=0.0)))
    rows = rows / np.float32(largest if largest > 0 else 1)  # so that squares stay in range
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    known = norms > _NO_VECTOR * norms.max(initial=0.0)
    scales: Float32 = np.where(known, 1 / np.where(known, norms, 1), 0).astype(np.float32)
    units: Float32 = rows * scales[:, None]
    return units


class ByRelevance:
    """Relevance alone: z_i.

    Args:
        relevance: z `[N]`.
    """

    def __init__(self, relevance: Float64) -> None:
        self._relevance = relevance

    def values(self) -> Float64:
        return self._relevance

    def add(self, chosen: int) -> None:
        """Nothing depends on it."""


class MarginalRelevance:
    """λ·z_i − (1 − λ)·max_{j∈S} cos_ij; the maximum over no j is 0.

    Args:
        relevance: z `[N]`.
        units: From `unit_vectors` `[N, D]`.
        trade_off: λ.
        window: Only the last so many of S count.

    Reference:
        Carbonell and Goldstein, The use of MMR, diversity-based reranking for reordering documents and producing
        summaries, SIGIR 1998. There the maximum is over all of S; the window is an addition.
    """

    def __init__(self, relevance: Float64, units: Float32, trade_off: float, window: int | None) -> None:
        self._gain, self._weight = trade_off * relevance, np.float32(1 - trade_off)
        self._columns = np.ascontiguousarray(units.T)
        self._largest = _Largest() if window is None else _LargestOfLast(window, len(units))
        self._similarity = np.zeros(len(units), np.float32)

    def values(self) -> Float64:
        found: Float64 = self._gain - self._weight * self._similarity
        return found

    def add(self, chosen: int) -> None:
        """Takes in the next chosen candidate, in O(N·D)."""
        self._similarity = self._largest.add(self._columns[:, chosen].copy() @ self._columns)


class _Largest:
    """The largest of all rows, element by element."""

    def __init__(self) -> None:
        self._found: Float32 | None = None

    def add(self, row: Float32) -> Float32:
        self._found = row if self._found is None else np.maximum(self._found, row)
        return self._found


class _LargestOfLast:
    """The largest of the last `window` rows, in O(N) each: of this block, and of what follows in the one before.

    Reference:
        van Herk, A fast algorithm for local minimum and maximum filters, Pattern Recognition Letters 1992.
    """

    def __init__(self, window: int, width: int) -> None:
        self._rows = np.zeros((window, width), np.float32)  # of this block, then maxima of the block before
        self._block, self._count = _Largest(), 0

    def add(self, row: Float32) -> Float32:
        window = len(self._rows)
        place = self._count % window
        if place == 0:
            for earlier in range(window - 2, -1, -1):
                np.maximum(self._rows[earlier], self._rows[earlier + 1], out=self._rows[earlier])
            self._block = _Largest()
        self._rows[place] = row
        self._count += 1
        found = self._block.add(row)
        return found if self._count <= window or place + 1 == window else np.maximum(found, self._rows[place + 1])


class Determinant:
    """λ·z_i + (1 − λ)·log d_i², with d_i² = det(S_{Y∪i})/det(S_Y): greedy MAP of a DPP with L = diag(q) S diag(q).

    S is the matrix of cosines and q_i = exp(λ z_i/(2(1 − λ))): log det L_Y is Σ_{i∈Y} λ/(1 − λ) z_i + log det S_Y, and
    its increase, times 1 − λ, is the gain. With f_i the unit vectors, d_i² is the square of what is left of f_i beside
    the chosen ones: d_i² ← d_i² − e_i², e_i = ⟨f_i, r_j⟩/d_j, r_j what is left of the chosen f_j. That is e_i of the
    incremental Cholesky decomposition, (S_ji − ⟨c_j, c_i⟩)/d_j, in O(N·D) a place instead of O(N·k). From a window the
    oldest leaves by the same formula with the other sign.

    A candidate with d² ≤ 1e-5 has the gain −inf: it is in the span of the chosen ones. D vectors span all, so that
    more places than D want a window below D.

    Args:
        relevance: z `[N]`.
        units: From `unit_vectors` `[N, D]`; one of zeros is like no other, with d² = 1.
        trade_off: λ.
        window: Only the last so many of Y count.

    Reference:
        Chen, Zhang and Zhou, Fast greedy MAP inference for determinantal point process to improve recommendation
        diversity, NeurIPS 2018, arXiv:1709.05135 (equations 4 to 8; the window is their section 4). They exponentiate
        relevance and scale L; the order is that of the logarithms.
    """

    def __init__(self, relevance: Float64, units: Float32, trade_off: float, window: int | None) -> None:
        self._gain, self._weight = trade_off * relevance, 1 - trade_off
        self._columns = np.ascontiguousarray(units.T)
        self.variances = np.ones(len(units))
        size = window if window is not None else min(units.shape)
        self._is_sliding = window is not None
        self._chosen, self._inverse = np.zeros((size, units.shape[1])), np.zeros((size, size))
        self._directions = np.zeros((2, units.shape[1]), np.float32)
        self._count, self._is_well = 0, True
        self._values = self._of_variances()

    def values(self) -> Float64:
        return self._values

    def _of_variances(self) -> Float64:
        found = np.log(np.maximum(self.variances, FLOOR))
        found *= self._weight
        found += self._gain
        np.putmask(found, self.variances <= FLOOR, -np.inf)
        return found

    def add(self, chosen: int) -> None:
        """Takes in the next chosen candidate; (V Vᵀ)⁻¹ of the chosen vectors V follows by Schur complements."""
        unit = self._columns[:, chosen].astype(np.float64)
        size = len(self._chosen)
        if not self._is_sliding and (self._count >= size or self.variances[chosen] <= FLOOR or not unit.any()):
            return  # it takes nothing from the others
        slot = self._count % size
        self._count += 1
        used = min(self._count, size)
        own, inverse = self._chosen[:used], self._inverse[:used, :used]
        self._is_well = self._is_well and self._replace(slot, unit, own, inverse)
        if not self._is_well:
            own[slot] = unit
            self._anew(own, inverse)
        self._values = self._of_variances()

    def _replace(self, slot: int, unit: Float64, own: Float64, inverse: Float64) -> bool:
        """Puts a vector in the place of another; False if they are nearly dependent: then all must be computed anew."""
        self._directions[:] = 0
        weights = inverse[:, slot].copy()
        scale = float(weights[slot])
        if scale > _LARGEST_INVERSE:
            return False
        if scale > 0:
            self._directions[0] = weights.dot(own) * (1 / math.sqrt(scale))
            inverse -= weights[:, None] * (weights / scale)
            inverse[slot] = inverse[:, slot] = 0
        own[slot] = unit
        near = own.dot(unit)
        weights = inverse.dot(near)  # 0 at the slot
        left = float(near[slot] - near.dot(weights))
        if near[slot] > 0:
            if left * _LARGEST_INVERSE < 1:
                return False
            weights[slot] = -1
            inverse += weights[:, None] * (weights / left)
            self._directions[1] = weights.dot(own) * (1 / math.sqrt(left))
        more, less = np.square(self._directions @ self._columns)
        self.variances += more
        self.variances -= less
        return True

    def _anew(self, own: Float64, inverse: Float64) -> None:
        """Computes variances from the chosen vectors alone, and the inverse if they are far enough from dependent."""
        _, lengths, basis = np.linalg.svd(own, full_matrices=False)
        basis = basis[lengths > _LEAST_LENGTH].astype(np.float32)
        self.variances = 1 - np.square(basis @ self._columns).sum(0, dtype=np.float64)
        filled = np.flatnonzero(own.any(1))
        least = float(lengths[len(filled) - 1]) if 0 < len(filled) <= len(lengths) else 0.0
        self._is_well = least * least * _LARGEST_INVERSE > 1
        if self._is_well:
            inverse[:] = 0
            inverse[np.ix_(filled, filled)] = np.linalg.inv(own[filled] @ own[filled].T)
