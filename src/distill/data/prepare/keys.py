"""Request, user and item keys of raw rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from distill.codes import MISSING_KEY
from distill.data.prepare.source import RawBatch, RawFiles
from distill.encodings.arrow import Bool, Int64, family
from distill.encodings.hashing import mix64
from distill.encodings.id_values import to_keys
from distill.encodings.place import Place
from distill.encodings.values import first
from distill.errors import DataError
from distill.schema import Schema


@dataclass(frozen=True)
class RowKeys:
    """Keys of the rows of a batch.

    Attributes:
        request: `[n]`; the row number if the schema names no request column.
        user: `[n]`; the request if the schema names no user column, `MISSING_KEY` where the user is null.
    """

    request: Int64
    user: Int64


def key_columns(schema: Schema) -> list[str]:
    """Lists the raw columns that `row_keys` needs."""
    return [column for column in (schema.keys.request, schema.keys.user) if column]


def row_keys(batch: RawBatch, schema: Schema, files: RawFiles) -> RowKeys:
    """Computes the keys of the rows of a batch.

    Raises:
        DataError: A request id is null, or a key column cannot be ids.
    """
    request = request_keys(batch, schema, files)
    if (column := schema.keys.user) is None:
        return RowKeys(request, request)
    return RowKeys(request, keys_of(batch.columns[column], raw_place(batch, column, "keys.user", files))[0])


def request_keys(batch: RawBatch, schema: Schema, files: RawFiles) -> Int64:
    """Returns the key of the request of each row of a batch of one file; the row number without a request column.

    Raises:
        DataError: A request id is null, or the column cannot be ids.
    """
    if (column := schema.keys.request) is None:
        return np.arange(batch.start, batch.start + batch.num_rows, dtype=np.int64)
    place = raw_place(batch, column, "keys.request", files)
    keys, missing = keys_of(batch.columns[column], place)
    if (position := first(missing)) >= 0:
        raise DataError(
            "A request id is null.",
            where=place.at(position),
            expected="an id",
            found="null",
            remedy="Fill the ids, or leave these rows out of the raw files.",
        )
    if not schema.keys.per_file or (file := files.number_of(batch.start)) == 0:
        return keys
    apart = mix64(keys, seed=file).view(np.int64)
    return np.where(apart == MISSING_KEY, MISSING_KEY + 1, apart)


def keys_of(array: pa.Array, place: Place) -> tuple[Int64, Bool]:
    """Converts ids to int64 keys: integers as they are, others by their hash, null to a number that no id becomes.

    Returns:
        Keys (`MISSING_KEY` where null) and whether each is null, `[n]` each.

    Raises:
        DataError: The column cannot be ids, or one is the number that is set aside.
    """
    keys, missing = to_keys(array, place)
    taken = (keys == MISSING_KEY) & ~missing
    if (position := first(taken)) >= 0:
        if family(array.type) in ("int", "float", "bool"):
            raise DataError(
                "An id is the number that is reserved for missing ids.",
                where=place.at(position),
                found=str(array[position].as_py()),
                expected="any other integer of 64 bits, or null",
                remedy="Write null if there is no id: a missing number that is cast to an integer becomes this one.",
            )
        keys = np.where(taken, MISSING_KEY + 1, keys)  # a hash may move
    return (np.where(missing, MISSING_KEY, keys) if missing.any() else keys), missing


def raw_place(batch: RawBatch, column: str, purpose: str, files: RawFiles) -> Place:
    """Returns the place of a column of a raw batch."""
    return Place(column, purpose, lambda position: files.locate(batch.start + position))
