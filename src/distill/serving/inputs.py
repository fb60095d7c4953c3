"""What a program is fed: arrays by name, the same names wherever it is written or run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from distill.encodings import SideArrays
from distill.encodings.arrow import Int64
from distill.schema import FieldSpec, Kind, Side

Arrays = Mapping[str, npt.NDArray[Any]]

REQUEST, CANDIDATE, LOGITS, REQUEST_INDEX = "request", "candidate", "logits", "request_index"
# Shapes are known to a program from its inputs, and two is the least that it does not take for a constant.
LEAST_LENGTH = 2
POSITIONS = "positions"  # of candidates in what is stored of a catalogue


def ids_of(side: Side) -> str:
    """Names the ids of a side `[B, F]` int64."""
    return f"{side.value}_ids"


def numbers_of(side: Side) -> str:
    """Names the numbers of a side `[B, M]` float32."""
    return f"{side.value}_numbers"


def vectors_of(spec: FieldSpec) -> str:
    """Names a vector field `[B, W]` float32."""
    return f"{spec.side.value}_vector_{spec.name}"


def sequence_of(spec: FieldSpec) -> str:
    """Names the padded values of a sequence field: ids `[B, L]` int64, or vectors `[B, L, W]` float32."""
    return f"{spec.side.value}_sequence_{spec.name}"


def lengths_of(spec: FieldSpec) -> str:
    """Names the lengths of a sequence field `[B]` int64."""
    return f"{spec.side.value}_length_{spec.name}"


def score_column_of(name: str) -> str:
    """Names a column of the ranking score `[R, N]` float32."""
    return f"score_column_{name}"


def stored_of(name: str) -> str:
    """Names what is stored of all items, by the input of candidates that is made of it: `[items, …]`, of a sequence the
    ids of one item after the other, of its lengths where the ids of each item end `[items]`."""
    return f"stored_{name}"


def within_of(spec: FieldSpec) -> str:
    """Names the places `0 … L - 1` of the padded ids of a stored sequence `[L]` int64."""
    return f"{spec.side.value}_within_{spec.name}"


def side_inputs(fields: Sequence[FieldSpec], side: Side) -> list[str]:
    """Names everything that a side is made of, in the order that programs take it.

    Args:
        fields: Of the side.
        side: Which.
    """
    names = [ids_of(side), numbers_of(side)]
    names += [vectors_of(f) for f in fields if f.kind is Kind.VECTOR]
    for spec in (f for f in fields if f.is_sequence):
        names += [sequence_of(spec), lengths_of(spec)]
    return names


class SideInputs:
    """Names the encoded fields of a side as programs take them.

    Args:
        fields: Of the side.
        side: Which.
    """

    def __init__(self, fields: Sequence[FieldSpec], side: Side) -> None:
        self._ids, self._numbers = ids_of(side), numbers_of(side)
        self._vectors = [(vectors_of(f), f.name) for f in fields if f.kind is Kind.VECTOR]
        self._sequences = [(sequence_of(f), lengths_of(f), f.name) for f in fields if f.is_sequence]

    def of(self, arrays: SideArrays) -> dict[str, npt.NDArray[Any]]:
        """Returns encoded fields, B rows, by name; sequences padded."""
        found: dict[str, npt.NDArray[Any]] = {self._ids: arrays.ids, self._numbers: arrays.numbers}
        for name, field in self._vectors:
            found[name] = arrays.vectors[field]
        for name, of_lengths, field in self._sequences:
            values, lengths = arrays.sequences[field]
            found[name], found[of_lengths] = padded(values, lengths), lengths
        return found


def padded(values: npt.NDArray[Any], lengths: Int64) -> npt.NDArray[Any]:
    """Pads sequences with zeros behind them.

    Args:
        values: Of all rows, one row after the other `[sum(lengths)]`; of vectors `[sum(lengths), W]`.
        lengths: `[B]`.

    Returns:
        `[B, L]`, of vectors `[B, L, W]`; L is at least 2.
    """
    if len(lengths) == 1 and len(values) >= LEAST_LENGTH:  # of a request: it is as long as itself
        return values[None]
    longest = max(int(lengths.max()) if len(lengths) else 0, LEAST_LENGTH)
    out = np.zeros((len(lengths), longest, *values.shape[1:]), values.dtype)
    out[np.arange(longest) < lengths[:, None]] = values
    return out
