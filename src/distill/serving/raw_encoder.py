"""Encodes raw values of requests and candidates as the programs of a bundle take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from distill.encodings import FittedEncodings, SideArrays
from distill.encodings.arrow import Int64
from distill.encodings.declared import DeclaredColumns
from distill.encodings.number_columns import NumberColumns
from distill.encodings.rows import NotPlainError
from distill.schema import Kind, Schema, Side, source_columns
from distill.serving.columns import (
    RequestColumns,
    Values,
    as_columns,
    as_mapping,
    count_values,
    encode_fields,
    read_column,
    score_columns,
)
from distill.serving.inputs import REQUEST, SideInputs
from distill.serving.request import RequestEncoder
from distill.serving.scores import Float32

Inputs = dict[str, npt.NDArray[Any]]
Candidates: TypeAlias = "Mapping[str, Values] | pa.Table | None"
CANDIDATES = "candidates"


class RawEncoder:
    """Encodes the sides that programs read. It may be used by several threads at a time.

    Every method raises DataError if a column is missing or does not hold what its field says.

    Args:
        schema: The model's view of the schema.
        fitted: Its encodings.
        sides: Which sides the programs read.
    """

    def __init__(self, schema: Schema, fitted: FittedEncodings, sides: Sequence[Side]) -> None:
        self._schema, self._fitted = schema, fitted
        self._sides = {side: schema.side(side) for side in sides}
        self._inputs = {side: SideInputs(fields, side) for side, fields in self._sides.items()}
        self._of_pairs = source_columns(self._sides.get(Side.CROSS, ()), of_request=True)
        for spec in (field for fields in self._sides.values() for field in fields if field.kind is Kind.TEXT):
            fitted.texts[spec.table].load()
        self._row = RequestEncoder(schema, fitted)
        self._declared = DeclaredColumns(schema.value_reading)
        pairs = self._sides.get(Side.CROSS, ())
        plain = len(pairs) > 0 and NumberColumns.takes(pairs, schema.value_reading)
        self._pair_numbers = NumberColumns(pairs, fitted) if plain else None

    @property
    def request_columns(self) -> list[str]:
        """The raw columns of a request that its fields, and those of the pairs, are read from."""
        return list(dict.fromkeys([*source_columns(self._schema.side(Side.REQUEST)), *self._of_pairs]))

    def row(self, request: Mapping[str, Any]) -> Inputs:
        """Encodes one request; nothing of a model that reads none of its fields.

        Args:
            request: Raw column to its value.
        """
        if Side.REQUEST not in self._sides:
            return {}
        encoded = self._row.encode(as_mapping(request, REQUEST))
        return self._inputs[Side.REQUEST].of(encoded)

    def side(self, side: Side, values: Candidates, rows: int) -> Inputs:
        """Encodes the side of requests or of candidates; nothing of one that no program reads.

        Args:
            side: Which.
            values: Raw column to the values `[rows]`, more columns perhaps.
            rows: Of the side.
        """
        if side not in self._sides:
            return {}
        fields, owner = self._sides[side], REQUEST if side is Side.REQUEST else CANDIDATES
        columns = self._columns(values, source_columns(fields), rows, owner)
        return self._inputs[side].of(encode_fields(fields, self._fitted, columns, rows, owner))

    def pairs(self, request: Candidates, requests: int, candidates: Candidates, index: Int64) -> Inputs:
        """Encodes the fields of pairs; nothing if no program reads any.

        Args:
            request: Raw column to the values of the requests, of which some fields may be made.
            requests: How many.
            candidates: Raw column to the values of all N candidates.
            index: Request of each candidate `[N]`.
        """
        fields = self._sides.get(Side.CROSS)
        if fields is None:
            return {}
        if self._pair_numbers is not None:
            with suppress(NotPlainError):
                numbers = self._pair_numbers.encode(as_mapping(candidates, CANDIDATES), len(index))
                none = np.zeros((len(index), 0), np.int64)
                return self._inputs[Side.CROSS].of(SideArrays(none, numbers, {}, {}))
        own = self._columns(candidates, source_columns(fields, of_request=False), len(index), CANDIDATES)
        others = self._columns(request, self._of_pairs, requests, REQUEST)
        arrays = encode_fields(fields, self._fitted, own, len(index), CANDIDATES, RequestColumns(others, index))
        return self._inputs[Side.CROSS].of(arrays)

    def pairs_of_one(self, request: Mapping[str, Any], candidates: Candidates, rows: int) -> Inputs:
        """Encodes the fields of pairs of one request, whose values are given one by one; see `pairs`."""
        given = as_mapping(request, REQUEST) if self._of_pairs else {}
        values = {name: [given[name]] for name in self._of_pairs if name in given}
        return self.pairs(values, 1, candidates, np.zeros(rows, np.int64))

    def count(self, candidates: Candidates) -> int:
        """Counts the candidates of raw columns: by one that is read, if any of them is."""
        columns = as_mapping(candidates, CANDIDATES)
        fields = [f for side in (Side.CANDIDATE, Side.CROSS) for f in self._sides.get(side, ())]
        read = source_columns(fields, of_request=False)
        names = [name for name in (*read, *self._schema.score.columns, *columns) if name in columns]
        return count_values(columns[names[0]], f"{CANDIDATES}, column {names[0]!r}") if names else 0

    def score_columns(self, candidates: Candidates, rows: int) -> dict[str, Float32]:
        """Reads the columns of the ranking score of N candidates, of which all must be positive."""
        return score_columns(self._schema, self.columns(candidates, list(self._schema.score.columns), rows))

    def columns(self, candidates: Candidates, wanted: Sequence[str], rows: int) -> dict[str, pa.Array]:
        """Reads raw columns of candidates as the schema declares them."""
        return self._columns(candidates, wanted, rows, CANDIDATES)

    def item_keys(self, keys: Values, column: str) -> Values:
        """Reads raw keys as the schema declares their column."""
        return read_column(column, keys, "items", self._declared) if self._declared.concerns(column) else keys

    def _columns(self, values: Candidates, wanted: Sequence[str], rows: int, owner: str) -> dict[str, pa.Array]:
        return as_columns(as_mapping(values, owner), wanted, rows, owner, self._declared)
