"""Fitted encoders of numbers: standardise, log, identity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from distill.encodings.arrow import Int64
from distill.encodings.place import Place
from distill.encodings.tables import NanRule
from distill.encodings.values import Float64, to_float32, to_numbers
from distill.schema.encoding import AnyEncoding, Log, Standardise


def signed_log(values: Float64) -> Float64:
    """Computes sign(x)·log(1 + |x|)."""
    return np.copysign(np.log1p(np.abs(values)), values)


@dataclass(frozen=True)
class FittedNumber:
    """(t(x) − shift) / scale, where t is the signed log or nothing.

    Attributes:
        log: Whether t is the signed log.
        shift: Mean of t(x) in the training split, or 0.
        scale: Deviation of t(x) in the training split, or 1.
        fill: What a missing value becomes: the mean after encoding, 0 under the identity.
    """

    log: bool
    shift: float
    scale: float
    fill: float

    def encode(self, array: pa.Array, place: Place, nan: NanRule) -> tuple[npt.NDArray[np.float32], Int64]:
        """Encodes a raw column.

        Returns:
            Float32 `[n]`, and the rows that were missing.
        """
        values, missing = to_numbers(array, place, nan)
        if self.log:
            values = signed_log(values)
        if self.shift != 0.0 or self.scale != 1.0:
            values = (values - self.shift) / self.scale
        if missing.any():
            values[missing] = self.fill
        return to_float32(values, place), np.flatnonzero(missing)


def number_from_moments(encoding: AnyEncoding, mean: float, deviation: float) -> FittedNumber:
    """Builds the encoder from the mean and deviation of t(x); a deviation of 0 counts as 1."""
    standardise = isinstance(encoding, Standardise) or (isinstance(encoding, Log) and encoding.standardise)
    log = isinstance(encoding, Log)
    if standardise:
        return FittedNumber(log=log, shift=mean, scale=deviation or 1.0, fill=0.0)
    return FittedNumber(log=log, shift=0.0, scale=1.0, fill=mean if log else 0.0)
