"""Request and user keys of raw rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from distill.data.prepare.arrow import Int64
from distill.data.prepare.place import Place
from distill.data.prepare.source import RawBatch, RawFiles
from distill.data.prepare.values import first, to_keys
from distill.errors import DataError
from distill.schema import Schema


@dataclass(frozen=True)
class RowKeys:
    """Keys of the rows of a batch.

    Attributes:
        request: `[n]`; the row number if the schema names no request column.
        user: `[n]`; the request if the schema names no user column, or the user is null.
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
    request = np.arange(batch.start, batch.start + batch.num_rows, dtype=np.int64)
    if (column := schema.keys.request) is not None:
        place = raw_place(batch, column, "keys.request", files)
        request, missing = to_keys(batch.columns[column], place)
        if (position := first(missing)) >= 0:
            raise DataError(
                "A request id is null.",
                where=place.at(position),
                expected="an id",
                found="null",
                remedy="Fill the ids, or leave these rows out of the raw files.",
            )
    if (column := schema.keys.user) is None:
        return RowKeys(request, request)
    user, missing = to_keys(batch.columns[column], raw_place(batch, column, "keys.user", files))
    return RowKeys(request, np.where(missing, request, user))


def raw_place(batch: RawBatch, column: str, purpose: str, files: RawFiles) -> Place:
    """Returns the place of a column of a raw batch."""
    return Place(column, purpose, lambda position: files.locate(batch.start + position))
