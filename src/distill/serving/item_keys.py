"""Raw keys of items, and where what is stored of each is found."""

from __future__ import annotations

from array import array
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distill.encodings.arrow import Int64, is_text, null_mask, to_plain
from distill.encodings.id_values import to_id_values
from distill.encodings.key_table import KeyTable
from distill.encodings.place import Place
from distill.encodings.values import first
from distill.errors import DataError
from distill.serving.columns import Values, as_array

KEY = "key"


class ItemKeys:
    """Keys of a catalogue.

    Args:
        column: Raw column that they are of.
        keys: Distinct, int64 or string, without nulls `[n]`.

    Attributes:
        column: As given.
    """

    def __init__(self, column: str, keys: pa.Array) -> None:
        self.column = column
        self._table = KeyTable(keys)

    def __len__(self) -> int:
        return len(self._table.keys)

    @property
    def values(self) -> pa.Array:
        """The keys `[n]`."""
        return self._table.keys

    def with_more(self, keys: pa.Array) -> ItemKeys:
        """Returns these keys and others behind them."""
        if len(keys) == 0:
            return self
        return ItemKeys(self.column, pa.concat_arrays([self.values, keys]) if len(self) else keys)

    def find(self, wanted: Values) -> Int64:
        """Returns the place of each key `[N]`; -1 of one that is not there.

        Raises:
            DataError: Keys are of another type than those of the catalogue.
        """
        places = self._plain_integers(wanted)
        return self.find_array(as_array(wanted, f"items, column {self.column!r}")) if places is None else places

    def find_array(self, wanted: pa.Array) -> Int64:
        """Does what `find` does for an Arrow array."""
        place = Place(self.column, "item key")
        values = to_id_values(wanted, place)
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        if values.null_count:
            filled = self.find_array(values.fill_null("" if is_text(values.type) else 0))
            return np.where(null_mask(values), -1, filled)
        if is_text(values.type) != self._table.is_text and len(values):
            if len(self) == 0:
                return np.full(len(values), -1, np.int64)
            raise DataError(
                "Item keys are of another type than those of the catalogue.",
                where=place.at(0),
                expected="string" if self._table.is_text else "int",
                found="string" if is_text(values.type) else "int",
            )
        return self._table.find(values)

    def check_known(self, places: Int64, wanted: Values, what: str) -> None:
        """Refuses a place of -1.

        Args:
            places: Of the keys, as `find` returns them.
            wanted: The keys.
            what: Is stored of an item: `vector`.

        Raises:
            DataError: There is one.
        """
        if len(places) and places.min() < 0:
            row = first(places < 0)
            raise DataError(
                f"An item has no {what}.",
                where=f"items, column {self.column!r}, row {row}",
                found=repr(as_array(wanted, self.column)[row].as_py()),
                remedy="Export the catalogue again, or a delta of it; or give the item's raw columns.",
            )

    def _plain_integers(self, keys: Values) -> Int64 | None:
        """Finds a list or an array of plain integers without a detour; None of anything else."""
        if self._table.is_text:
            return None
        if isinstance(keys, np.ndarray) and keys.dtype == np.int64 and keys.ndim == 1:
            return self._table.find_integers(keys)
        if type(keys) is not list:
            return None
        try:
            return self._table.find_integers(np.frombuffer(array("q", keys), np.int64))
        except (TypeError, OverflowError):
            return None


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Reads a file of what is stored of items.

    Raises:
        DataError: It cannot be read.
    """
    try:
        return pq.read_table(path, columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            "Stored items cannot be read.", where=str(path), found=" ".join(str(error).split())[:300]
        ) from error


def read_keys(path: Path) -> pa.Array:
    """Reads the keys of a file; see `read_table`."""
    return to_id_values(to_plain(read_table(path, [KEY])[KEY]), Place(KEY, "item key"))


def check_count(path: Path, keys: pa.Array, count: int) -> None:
    """Compares keys with what their description says.

    Raises:
        DataError: There are more or fewer, or some are null.
    """
    if len(keys) != count or keys.null_count:
        raise DataError(
            "There are other item keys than their description says.",
            where=str(path),
            expected=f"{count} keys",
            found=f"{len(keys)}, {keys.null_count} of them null",
        )
