"""Encodes the request side of one request: at once where its values are plain, else through columns.

Fields that are made of other columns are computed on columns, so that a model with one on the request side reads all
of them so.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from distill.encodings import FittedEncodings, SideArrays
from distill.encodings.declared import DeclaredColumns
from distill.encodings.rows import NotPlainError, RowEncoder
from distill.schema import Schema, Side, source_columns
from distill.serving.columns import as_columns, encode_fields
from distill.serving.inputs import REQUEST


class RequestEncoder:
    """Encodes requests.

    Args:
        schema: The model's view of the schema.
        fitted: Its encodings.
    """

    def __init__(self, schema: Schema, fitted: FittedEncodings) -> None:
        self._fields, self._fitted = schema.side(Side.REQUEST), fitted
        self._declared = DeclaredColumns(schema.value_reading)
        plain = all(spec.made is None for spec in self._fields)
        self._rows = RowEncoder(self._fields, fitted, schema.value_reading) if plain else None
        self._columns = source_columns(self._fields)

    def encode(self, request: Mapping[str, Any]) -> SideArrays:
        """Encodes a request, 1 row.

        Args:
            request: Raw column to its value.

        Raises:
            DataError: A column is missing or does not hold what its field says.
        """
        if self._rows is not None:
            with suppress(NotPlainError):
                return self._rows.encode(request)
        values = {name: [value] for name, value in request.items()}
        columns = as_columns(values, self._columns, 1, REQUEST, self._declared)
        return encode_fields(self._fields, self._fitted, columns, 1, REQUEST)
