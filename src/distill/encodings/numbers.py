"""Fitted encoders of numbers: standardise, log, identity, and those of numbers that are embedded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from distill.encodings.arrow import Int64
from distill.encodings.place import Place
from distill.encodings.tables import NanRule
from distill.encodings.values import Float64, to_float32, to_numbers
from distill.schema import MISSING_NUMBER
from distill.schema.encoding import LARGEST_EMBEDDED, AnyEncoding, AutoDis, Log, Standardise

_SMALL, _MANY, _GLANCE = 1 << 16, 1 << 12, 64


def signed_log(values: Float64) -> Float64:
    """Computes sign(x)·log(1 + |x|)."""
    if len(values) >= _MANY and (counts := _small_counts(values)) is not None:
        return _logs_of_counts().take(counts)
    return np.copysign(np.log1p(np.abs(values)), values)


def _small_counts(values: Float64) -> npt.NDArray[np.int32] | None:
    """Returns numbers as integers if all are whole, from 0 (not -0) on and small; None if not."""
    glance = values[:_GLANCE]
    if (glance != np.floor(glance)).any() or np.signbit(values).any() or not values.max() < _SMALL:
        return None
    counts = values.astype(np.int32)
    return counts if (counts == values).all() else None


@cache
def _logs_of_counts() -> Float64:
    """What `log1p` makes of the counts below `_SMALL`: looking it up costs a tenth of computing it."""
    return np.log1p(np.arange(_SMALL, dtype=np.float64))


@dataclass(frozen=True)
class FittedNumber:
    """(t(x) − shift) / scale, where t is the signed log or nothing; or the place of x among boundaries.

    The place of x in bin t of T, b_{t−1} ≤ x < b_t, is t − 1 + (x − b_{t−1}) / (b_t − b_{t−1}); the first and the last
    bin go on beyond their ends. A number that models embed is cut off at `LARGEST_EMBEDDED`.

    Attributes:
        log: Whether t is the signed log.
        shift: Mean of t(x) in the training split, or 0.
        scale: Deviation of t(x) in the training split, or 1.
        fill: What a missing value becomes: the mean after encoding, 0 under the identity, `MISSING_NUMBER` where models
            embed the number.
        bins: Bins asked for, if the number becomes a place among boundaries.
        boundaries: Strictly increasing, at most one more than bins.
    """

    log: bool
    shift: float
    scale: float
    fill: float
    bins: int | None = None
    boundaries: tuple[float, ...] = ()

    @property
    def embedded(self) -> bool:
        """Whether models embed the number."""
        return self.fill == MISSING_NUMBER

    @cached_property
    def _edges(self) -> Float64:
        return np.asarray(self.boundaries, np.float64)

    def scaled(self, values: Float64) -> Float64:
        """Encodes finite numbers `[n]`, not yet rounded."""
        if self.boundaries:
            values = _place(values, self._edges)
        else:
            if self.log:
                values = signed_log(values)
            if self.shift != 0.0 or self.scale != 1.0:
                values = (values - self.shift) / self.scale
        return np.clip(values, -LARGEST_EMBEDDED, LARGEST_EMBEDDED) if self.embedded else values

    def encode(self, array: pa.Array, place: Place, nan: NanRule) -> tuple[npt.NDArray[np.float32], Int64]:
        """Encodes a raw column.

        Returns:
            Float32 `[n]`, and the rows that were missing.
        """
        values, missing = to_numbers(array, place, nan)
        values = self.scaled(values)
        if missing.any():
            values = np.where(missing, self.fill, values)
        return to_float32(values, place), np.flatnonzero(missing)


def number_from_moments(encoding: AnyEncoding, mean: float, deviation: float) -> FittedNumber:
    """Builds the encoder from the mean and deviation of t(x); a deviation of 0 counts as 1."""
    if isinstance(encoding, AutoDis):
        return FittedNumber(log=encoding.log, shift=mean, scale=deviation or 1.0, fill=MISSING_NUMBER)
    standardise = isinstance(encoding, Standardise) or (isinstance(encoding, Log) and encoding.standardise)
    log = isinstance(encoding, Log)
    if standardise:
        return FittedNumber(log=log, shift=mean, scale=deviation or 1.0, fill=0.0)
    return FittedNumber(log=log, shift=0.0, scale=1.0, fill=mean if log else 0.0)


def piecewise_number(bins: int, inner: Float64, low: float, high: float) -> FittedNumber:
    """Builds the encoder of a number that becomes its place among quantiles.

    Args:
        bins: Asked for.
        inner: Quantiles between the bins, ascending.
        low: Smallest value of the training split.
        high: Largest; below `low` if there are no values. The only bin of a constant number begins there and is as wide
            as the number is large, at least 1.
    """
    edges = np.unique(np.concatenate([[low], inner, [high]])) if low <= high else np.zeros(1)
    if len(edges) == 1:
        edges = np.append(edges, edges[0] + max(1.0, abs(edges[0])))
    boundaries = tuple(edges.tolist())
    return FittedNumber(log=False, shift=0.0, scale=1.0, fill=MISSING_NUMBER, bins=bins, boundaries=boundaries)


def _place(values: Float64, edges: Float64) -> Float64:
    bin_of = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    begin = edges[bin_of]
    with np.errstate(over="ignore"):
        place: Float64 = bin_of + (values - begin) / (edges[bin_of + 1] - begin)
    return place
