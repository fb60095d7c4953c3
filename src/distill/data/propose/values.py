"""What the values of one raw column are: types, ranges, cardinalities."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from distill.encodings.arrow import Int64, differs, explode, family, null_mask

_MEASURED = ("int", "float", "bool")


@dataclass(frozen=True)
class Values:
    """The sampled values of a column, one of each row or candidate.

    Attributes:
        name: Raw column.
        array: Plain values `[n]`; lists of a sequence or vector.
    """

    name: str
    array: pa.Array

    @cached_property
    def family(self) -> str:
        """Family of the type: int, float, bool, string, time, null, `list of int`, …"""
        return family(self.array.type)

    @property
    def is_list(self) -> bool:
        """Whether a value is a list."""
        return self.family.startswith("list of ")

    @cached_property
    def known(self) -> pa.Array:
        """Values that are not null, nor NaN `[m]`."""
        known = self.array.drop_null()
        return known.filter(pc.invert(pc.is_nan(known))) if self.family == "float" else known

    @cached_property
    def has_nan(self) -> bool:
        """Whether a number is NaN."""
        return self.family == "float" and len(self.known) + self.array.null_count < len(self.array)

    @cached_property
    def distinct(self) -> int:
        """Number of distinct values that are not null; 0 of lists."""
        if self.family == "null" or self.is_list:
            return 0
        return int(pc.count_distinct(self.known, mode="only_valid").as_py())

    @cached_property
    def numbers(self) -> npt.NDArray[np.float64]:
        """Known values as float64 `[m]`; none if they are not numbers."""
        if self.family not in _MEASURED:
            return np.zeros(0)
        return np.asarray(self.known.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)

    @cached_property
    def low(self) -> float:
        """Smallest number; NaN without any."""
        return float(self.numbers.min()) if len(self.numbers) else np.nan

    @cached_property
    def high(self) -> float:
        """Largest number; NaN without any."""
        return float(self.numbers.max()) if len(self.numbers) else np.nan

    @cached_property
    def is_whole(self) -> bool:
        """Whether there are numbers, and all are whole."""
        return bool(len(self.numbers)) and bool(np.all(self.numbers == np.floor(self.numbers)))

    @cached_property
    def skewness(self) -> float:
        """Third standardised moment E[(x − μ)³] / σ³ of the numbers; 0 of constant ones."""
        finite = self.numbers[np.isfinite(self.numbers)]
        if not len(finite) or np.ptp(finite) == 0:
            return 0.0
        scaled = (finite - finite.mean()) / finite.std()
        return float(np.mean(scaled**3))

    @cached_property
    def lengths(self) -> Int64:
        """Lengths of the lists that are not null `[m]`."""
        return explode(self.array.drop_null())[1]

    @cached_property
    def inner(self) -> Values:
        """The values of all lists."""
        return Values(self.name, explode(self.array)[0])

    @property
    def is_binary(self) -> bool:
        """Whether the known values are 0 and 1, or true and false; one of them is enough."""
        return self.family in _MEASURED and self.distinct > 0 and bool(np.isin(self.numbers, (0, 1)).all())

    def seen(self) -> str:
        """Says what the values are, in a few words."""
        share = 1 - len(self.known) / max(1, len(self.array))
        parts = [self.family]
        if self.is_list:
            sizes = self.lengths
            if len(sizes):
                parts.append(f"{sizes.min():,} to {sizes.max():,} values each")
            parts.append(f"{self.inner.distinct:,} different" if not self.inner.is_list else "lists")
        else:
            is_range = len(self.numbers) > 0 and self.family != "bool" and self.low < self.high
            parts.append(f"{self.distinct:,} different")
            parts += [f"{shown(self.low)} to {shown(self.high)}"] if is_range else []
        if share:
            parts.append(f"{100 * share:.3g} % missing")
        return ", ".join(parts)


def shown(number: float) -> str:
    """Writes a number: whole ones with all their digits, others with six."""
    return f"{int(number):,}" if abs(number) < 1e15 and number == int(number) else f"{number:.6g}"


def groups_of(array: pa.Array) -> Int64:
    """Numbers the values of a column: equal values have one number, each null one of its own `[n]`."""
    encoded = array.dictionary_encode()
    codes = np.array(pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False), dtype=np.int64)
    missing = codes < 0
    codes[missing] = len(encoded.dictionary) + np.arange(int(missing.sum()))
    return codes


def deviations(array: pa.Array, groups: Int64) -> tuple[int, int]:
    """Compares values with the first of their group.

    Returns:
        How many differ from it, and how many rows are not the first of their group.
    """
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    other = np.ones(len(groups), np.bool_)
    other[first] = False
    rows = np.flatnonzero(other)
    if not len(rows):
        return 0, 0
    differing = differs(array.take(pa.array(rows)), array.take(pa.array(first[inverse[rows]])))
    return int(differing.sum()), len(rows)


def same_lengths(left: pa.Array, right: pa.Array) -> bool:
    """Whether two columns of lists hold lists of the same length in each row, nulls in the same rows."""
    if not np.array_equal(null_mask(left), null_mask(right)):
        return False
    return bool(np.array_equal(explode(left)[1], explode(right)[1]))
