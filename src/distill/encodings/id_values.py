"""Checked conversions of raw columns that name things: ids, and the keys of groups."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from distill.encodings.arrow import Bool, Int64, family, is_text, null_mask, to_int64_bits
from distill.encodings.hashing import hash_strings
from distill.encodings.place import Place
from distill.encodings.text import converted
from distill.encodings.values import EXACT, first, to_numbers
from distill.errors import DataError


def to_id_values(array: pa.Array, place: Place, nan: Literal["error", "missing"] = "error") -> pa.Array:
    """Converts a column of ids to int64 or string, nulls kept; booleans become 0 and 1, dictionaries of text stay.

    Integers never go through floating point; unsigned ones from 2⁶³ on are taken by their bits.
    Floats are taken only if they are whole numbers, as columns with missing ids are often stored.

    Raises:
        DataError: The column holds something else.
    """
    kind = family(array.type)
    if is_text(array.type):
        return array
    if kind == "int":
        return _to_int64(array, place)
    if kind in ("null", "bool"):
        return array.cast(pa.int64())
    if kind != "float":
        raise DataError("This column cannot be ids.", where=place.at(0), expected="int, string or bool", found=kind)
    values, missing = to_numbers(array, place, nan)
    whole = values == np.floor(values)
    if (position := first(~whole | (np.abs(values) > EXACT))) >= 0:
        raise DataError(
            "Ids are stored as floating-point numbers "
            + ("too large to be exact." if whole[position] else "that are not whole."),
            where=place.at(position),
            expected="int, string, bool, or whole numbers up to 2**53",
            found=repr(float(values[position])),
            remedy="Store the ids as integers or strings (in CSV declare `raw.columns: {"
            f"{place.column}: text}}`); for a measured number use an encoding for numbers.",
        )
    return pa.array(values.astype(np.int64), mask=missing)


def _to_int64(array: pa.Array, place: Place) -> pa.Array:
    def too_long(position: int, _: pa.ArrowInvalid) -> DataError:
        return DataError(
            "An id has more than 64 bits.",
            where=place.at(position),
            expected="whole numbers of 64 bits, signed or unsigned",
            found=str(array[position].as_py()),
            remedy=f"Take the column as text: `raw.columns: {{{place.column}: text}}` in the schema.",
        )

    return converted(array, to_int64_bits, too_long)


def text_of_key(array: pa.Array) -> pa.Array:
    """Returns the text whose hash is the key of an id that is text or a time; nulls stay."""
    if pa.types.is_timestamp(array.type):  # an instant is the same in every zone, known here or not
        array = array.cast(pa.timestamp(array.type.unit))
    return array.cast(pa.string())


def to_keys(array: pa.Array, place: Place) -> tuple[Int64, Bool]:
    """Converts group ids to int64 keys: integers as they are, strings by their stable hash.

    Returns:
        Keys (0 where null) and whether each is null, `[n]` each.
    """
    values = to_id_values(text_of_key(array) if family(array.type) == "time" else array, place)
    missing = null_mask(values)
    if pa.types.is_string(values.type):
        keys = hash_strings(values).view(np.int64)
    else:
        keys = pc.fill_null(values, 0).to_numpy(zero_copy_only=False)
    return np.where(missing, 0, keys) if missing.any() else keys, missing
