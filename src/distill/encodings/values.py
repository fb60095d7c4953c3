"""Checked conversions of raw columns of numbers."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from distill.encodings.arrow import Bool, family, null_mask
from distill.encodings.place import Place
from distill.errors import DataError

Float64 = npt.NDArray[np.float64]

EXACT = 2.0**53
"""Up to here every whole number is a float64."""
# Where the schema says what NaN means, by the first word of what a column is used for.
_NAN_OWNERS = {"field": "the field", "label": "the task", "teacher": "`teacher`", "hidden": "`teacher`"}
LARGEST = 1e100
"""Largest number in size that is taken for measured: beyond it sums of squares may not be finite."""
LARGEST_FLOAT32 = float(np.finfo(np.float32).max)


def first(mask: Bool) -> int:
    """Returns the first true position, -1 without one."""
    position = int(np.argmax(mask)) if len(mask) else 0
    return position if len(mask) and mask[position] else -1


def to_numbers(
    array: pa.Array, place: Place, nan: Literal["error", "missing"] = "error", largest: float = LARGEST
) -> tuple[Float64, Bool]:
    """Converts a column of numbers.

    Args:
        array: int, float, bool, whole decimals or null `[n]`.
        place: Of the array.
        nan: What NaN means.
        largest: Largest absolute value; beyond it sums of squares may not be finite.

    Returns:
        Values (0 where missing) and whether each is missing, `[n]` each.

    Raises:
        DataError: The column holds something else, infinity, a number beyond `largest`, or NaN where it is an error.
    """
    kind = family(array.type)
    missing = null_mask(array)
    if kind == "null":
        return np.zeros(len(array)), missing
    if kind not in ("int", "float", "bool"):
        raise DataError("This column holds no numbers.", where=place.at(0), expected="numbers", found=kind)
    if kind == "bool":
        array = array.cast(pa.int8())
    array = array.cast(pa.float64(), safe=False)
    if array.null_count:
        array = pc.fill_null(array, 0.0)
    values = array.to_numpy(zero_copy_only=False)
    if kind == "float" and not all_within(values, largest):
        values, missing = _settle_nan(values, missing, place, nan, largest)
    return values, missing


def all_within(values: npt.NDArray[Any], largest: float) -> bool:
    """Whether all numbers of any shape are at most `largest` in size; NaN is not."""
    return values.size == 0 or bool(values.min() >= -largest and values.max() <= largest)


def to_positive(array: pa.Array, place: Place) -> tuple[Float64, Bool]:
    """Converts a column of numbers of which all must be there and above 0; see `to_numbers`.

    Raises:
        DataError: One is null or not positive.
    """
    numbers, missing = to_numbers(array, place)
    if (position := first(missing | (numbers <= 0))) >= 0:
        raise DataError(
            "A column of the ranking score must be positive.",
            where=place.at(position),
            expected="a number above 0",
            found="null" if missing[position] else repr(float(numbers[position])),
            remedy="Fill or correct the value, or take the column out of `score`.",
        )
    return numbers, missing


def to_float32(values: Float64, place: Place) -> npt.NDArray[np.float32]:
    """Rounds finite numbers to float32.

    Raises:
        DataError: One is too large for it.
    """
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    if not all_within(rounded, LARGEST_FLOAT32) and (position := first(np.isinf(rounded))) >= 0:
        raise DataError(
            "A number is too large for float32.",
            where=place.at(position),
            expected="at most 3.4e38 in size",
            found=repr(float(values[position])),
            remedy="Rescale the column, or use the encoding `log` or `standardise`.",
        )
    return rounded


def _settle_nan(
    values: Float64, missing: Bool, place: Place, nan: Literal["error", "missing"], largest: float
) -> tuple[Float64, Bool]:
    is_nan = np.isnan(values)
    bad = (np.abs(values) > largest) | (is_nan & (nan == "error"))
    if (position := first(bad)) >= 0:
        remedy = "Write null where the number is not known"
        if not is_nan[position]:
            remedy += "; no measured number is as large."
        else:
            owner = _NAN_OWNERS.get(place.use.split(" ")[0])
            remedy += "." if owner is None else f", or set `nan: missing` on {owner} in the schema."
        raise DataError(
            "A number is too large." if np.isfinite(values[position]) else "A number is not finite.",
            where=place.at(position),
            expected=f"a finite number of at most {largest:g} in size, or null",
            found=str(values[position]),
            remedy=remedy,
        )
    return np.where(is_nan, 0.0, values), missing | is_nan
