"""Raw columns as a schema declares them: read from files and given to a server alike."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from distill.encodings.arrow import explode, family, from_lengths, is_list, map_values, null_mask, plain_type, to_plain
from distill.encodings.place import Place
from distill.encodings.text import DECLARED, convert_declared, converted
from distill.errors import DataError
from distill.schema import RawColumns


class DeclaredColumns:
    """Converts columns to the types that a schema declares, and text that means missing to null.

    Args:
        raw: What the schema declares; None if nothing.
    """

    def __init__(self, raw: RawColumns | None) -> None:
        raw = raw or RawColumns()
        self._types = {name: DECLARED[kind] for name, kind in raw.columns.items()}
        self._nulls = pa.array(raw.null_values or (), pa.string())
        self._delimiters = raw.delimiters or {}

    def concerns(self, name: str) -> bool:
        """Whether a column may be another one once it is read."""
        return name in self._types or name in self._delimiters or len(self._nulls) > 0

    def changes(self, name: str, stored: pa.DataType) -> bool:
        """Whether the values of a column of some stored type may be others once it is read."""
        return name in self._delimiters or len(self._nulls) > 0 or self.type_of(name, stored) != plain_type(stored)

    def type_of(self, name: str, stored: pa.DataType) -> pa.DataType:
        """Returns the type that a column of some stored type is read as."""
        kind = self._types.get(name)
        if name in self._delimiters and _may_be_text(plain_type(stored)):
            return pa.list_(kind or pa.string())
        return stored if kind is None else _with_values_of(plain_type(stored), kind)

    def read(self, name: str, array: pa.Array, place: Place) -> pa.Array:
        """Converts a column.

        Args:
            name: Of the column.
            array: Its values, of a plain type.
            place: Of the array.

        Raises:
            DataError: A value cannot be read as what the column is declared to be.
        """
        if name in self._delimiters and _may_be_text(array.type):
            array = split_text(self._with_nulls(array.cast(pa.string())), self._delimiters[name])
        return self._values(array, self._types.get(name), place)

    def _values(self, array: pa.Array, kind: pa.DataType | None, place: Place) -> pa.Array:
        if is_list(array.type):
            inside = place.nested(explode(array)[1])
            return map_values(array, lambda values: self._values(values, kind, inside))
        array = self._with_nulls(array)
        return array if kind is None or array.type == kind else _as_declared(array, kind, place)

    def _with_nulls(self, array: pa.Array) -> pa.Array:
        if not pa.types.is_string(array.type) or not len(self._nulls):
            return array
        return pc.if_else(pc.is_in(array, value_set=self._nulls), pa.scalar(None, pa.string()), array)


def _may_be_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_null(kind))


def split_text(text: pa.Array, delimiter: str) -> pa.Array:
    """Takes text such as `a|b|c` for lists of text `[n]`: empty text is an empty list, and an empty value is null."""
    values, lengths = explode(pc.split_pattern(text, pattern=delimiter))
    empty = pc.fill_null(pc.equal(text, ""), False).to_numpy(zero_copy_only=False)
    values = values.filter(pa.array(np.repeat(~empty, lengths)))
    values = pc.if_else(pc.equal(values, ""), pa.scalar(None, pa.string()), values)
    return from_lengths(values, np.where(empty, 0, lengths), null_mask(text))


def _with_values_of(stored: pa.DataType, kind: pa.DataType) -> pa.DataType:
    return pa.list_(_with_values_of(stored.value_type, kind)) if is_list(stored) else kind


def _as_declared(array: pa.Array, kind: pa.DataType, place: Place) -> pa.Array:
    """Converts values that are not of the declared type.

    Raises:
        DataError: A value cannot be taken so.
    """
    found, wanted = family(array.type), next(name for name, declared in DECLARED.items() if declared == kind)
    exact = {
        "text": ("int", "bool", "time"),
        "time": ("time",),
        "boolean": ("int",),
        "integer": ("int", "bool", "float"),
    }

    def change(values: pa.Array) -> pa.Array:
        if found == "string":
            return convert_declared(values, kind)
        if found not in exact.get(wanted, ("int", "float", "bool")):
            raise pa.ArrowInvalid(f"the file holds {found}")
        if wanted == "boolean":
            if len(wrong := values.filter(pc.invert(pc.is_in(values, value_set=pa.array([0, 1, None], values.type))))):
                raise pa.ArrowInvalid(f"{wrong[0]} is neither 0 nor 1")
            return values.cast(kind)
        return to_plain(values, kind)

    if found == "null":
        return pa.nulls(len(array), kind)

    def unfit(position: int, error: pa.ArrowInvalid) -> DataError:
        return DataError(
            f"A value cannot be read as {wanted}, which the schema declares.",
            where=place.at(position),
            found=f"{array[position].as_py()!r:.200}: {str(error).splitlines()[0]:.200}",
            remedy=f"Correct the value, or `raw.columns` in the schema: {place.column} is stored as {found}.",
        )

    return converted(array, change, unfit)
