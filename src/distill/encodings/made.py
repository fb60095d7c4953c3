"""Fields that are made of other raw columns: computed here wherever raw values are read, so that all agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from distill.encodings.alike import kind_of_ids, not_alike
from distill.encodings.arrow import Bool, Int64, is_text, null_mask
from distill.encodings.elapsed import MICROSECONDS, to_epoch
from distill.encodings.id_values import to_id_values
from distill.encodings.lists import check_lists, to_ragged
from distill.encodings.place import Place
from distill.encodings.values import to_numbers
from distill.schema import AnyMade, Combine, Difference, FieldSpec, Match, Missing, Overlap, Ratio, Side, Source

Float64 = npt.NDArray[np.float64]

SEPARATOR, _ESCAPE = "|", "\\"
"""Between the parts of a combined id; within a part it stands behind a backslash, as a backslash does."""


@dataclass(frozen=True)
class SourceColumn:
    """A raw column that a field is made of.

    Attributes:
        array: Plain values `[m]`.
        place: Of the array.
        rows: Row of the array for each row of the field `[n]`; row by row if not given.
    """

    array: pa.Array
    place: Place
    rows: Int64 | None = None

    def spread(self, values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Returns values `[m]` of the array's rows as those of the field's rows `[n]`."""
        return values if self.rows is None else values[self.rows]


FindColumn = Callable[[str, Side, str], tuple[pa.Array, Place]]
"""Finds the values of a raw column by its name, its side and what it is used for."""


def read_field(spec: FieldSpec, find: FindColumn, index: Int64 | None = None) -> tuple[pa.Array, Place]:
    """Returns the plain values of a field `[n]`, read from its raw column or made of others, and their place.

    Args:
        spec: The field.
        find: Finds raw columns.
        index: Request of each candidate `[n]`, where a field of candidates is made of columns of requests too.

    Raises:
        DataError: A column does not hold what the field is made of.
    """
    use = f"field {spec.name!r}"
    if spec.made is None:
        return find(spec.column, spec.side, use)
    found = [find(source.column, source.side, use) for source in spec.made.of]
    repeats = [source.side is Side.REQUEST and spec.side is not Side.REQUEST for source in spec.made.of]
    sources = [
        SourceColumn(array, place, index if repeated else None)
        for (array, place), repeated in zip(found, repeats, strict=True)
    ]
    own = next((place for (_, place), repeated in zip(found, repeats, strict=True) if not repeated), found[0][1])
    names = ", ".join(source.column for source in spec.made.of)
    return make(spec.made, sources, spec.nan == "missing"), Place(names, use, own.locate)


def make(made: AnyMade, sources: Sequence[SourceColumn], nan_is_missing: bool = False) -> pa.Array:
    """Makes the values of a field.

    Args:
        made: Of what, and how.
        sources: Its columns, in the order of `made.of`.
        nan_is_missing: Whether a NaN in a number is a null rather than an error.

    Returns:
        Text `[n]` of `combine`, else float64 `[n]`, with nulls but for `missing`.

    Raises:
        DataError: A column does not hold what the field is made of.
    """
    if isinstance(made, Combine):
        return _combined(sources)
    if isinstance(made, Missing):
        _, known = _numbers(sources[0], nan_is_missing)
        return pa.array((~known).astype(np.float64))
    if isinstance(made, Match | Overlap):
        values, known = _compared(made, sources)
    elif isinstance(made, Ratio):
        values, known = _divided(*(_numbers(source, nan_is_missing) for source in sources))
    else:
        values, known = _subtracted(made, sources, nan_is_missing)
    if made.otherwise is not None:
        return pa.array(np.where(known, values, made.otherwise))
    return pa.array(values, mask=~known)


def _combined(sources: Sequence[SourceColumn]) -> pa.Array:
    parts = []
    for source in sources:
        part = _text(to_id_values(source.array, source.place))
        part = pc.replace_substring(part, _ESCAPE, _ESCAPE * 2)
        part = pc.replace_substring(part, SEPARATOR, _ESCAPE + SEPARATOR)
        parts.append(part if source.rows is None else part.take(pa.array(source.rows)))
    return pc.binary_join_element_wise(*parts, SEPARATOR, null_handling="emit_null")


def _text(ids: pa.Array) -> pa.Array:
    return (ids.dictionary_decode() if pa.types.is_dictionary(ids.type) else ids).cast(pa.string())


def split_combined(text: str) -> list[str]:
    """Returns the parts of a combined id."""
    parts = [""]
    chars = iter(text)
    for char in chars:
        if char == SEPARATOR:
            parts.append("")
        else:
            parts[-1] += next(chars) if char == _ESCAPE else char
    return parts


def _compared(made: Match | Overlap, sources: Sequence[SourceColumn]) -> tuple[Float64, Bool]:
    """Counts the pairs of equal values of two columns by row; of two lists, each value once.

    The values of one column, told apart by row, are a table in which those of the other are looked up, so that the list
    of a request is not repeated for each of its candidates.
    """
    a, b = (_Values.of(declared, source) for declared, source in zip(made.of, sources, strict=True))
    _check_alike(a, b)
    codes = _codes(a.ids, b.ids)
    a, b = (replaced for replaced in (a.coded(codes[: len(a.ids)]), b.coded(codes[len(a.ids) :])))
    known = _spread_mask(a) & _spread_mask(b)
    width = int(codes.max(initial=0)) + 1
    if all(declared.list for declared in made.of):
        a, b = a.distinct(width), b.distinct(width)
    table, probe = (b, a) if a.source.rows is None else (a, b)
    probe = probe.expanded()
    of_row = np.arange(len(known)) if table.source.rows is None else table.source.rows
    keys, counts = np.unique(table.rows * width + table.codes, return_counts=True)
    wanted = of_row[probe.rows] * width + probe.codes
    place = np.searchsorted(keys, wanted)
    hit = place < len(keys)
    hit[hit] = keys[place[hit]] == wanted[hit]
    found: Float64 = np.bincount(probe.rows[hit], weights=counts[place[hit]], minlength=len(known)).astype(np.float64)
    return np.asarray(np.minimum(found, 1.0), np.float64) if isinstance(made, Match) else found, known


@dataclass(frozen=True)
class _Values:
    """The values of a column, one by one, lists taken apart and nulls dropped.

    Attributes:
        source: The column.
        ids: Its values `[v]`, int64 or text.
        rows: Row of the array of each value `[v]`.
        known: Which rows of the array are not null `[m]`.
        codes: A number for each different value `[v]`, the same in both columns that are compared.
    """

    source: SourceColumn
    ids: pa.Array
    rows: Int64
    known: Bool
    codes: Int64

    @classmethod
    def of(cls, declared: Source, source: SourceColumn) -> _Values:
        array, place = source.array, source.place
        known = ~null_mask(array)
        if declared.list:
            check_lists(array, place)
            array, lengths, _ = to_ragged(array, None)
            rows, place = np.repeat(np.arange(len(lengths)), lengths), place.nested(lengths)
        else:
            rows = np.arange(len(array))
        ids = to_id_values(array, place)
        kept = ~null_mask(ids)
        return cls(source, ids.filter(pa.array(kept)), rows[kept], known, np.zeros(0, np.int64))

    def coded(self, codes: Int64) -> _Values:
        return _Values(self.source, self.ids, self.rows, self.known, codes)

    def distinct(self, width: int) -> _Values:
        """Returns each value of a row once; codes are below `width`."""
        _, kept = np.unique(self.rows * width + self.codes, return_index=True)
        return _Values(self.source, self.ids, self.rows[kept], self.known, self.codes[kept])

    def expanded(self) -> _Values:
        """Returns the values by row of the field."""
        if self.source.rows is None:
            return self
        order = np.argsort(self.rows, kind="stable")
        counts = np.bincount(self.rows, minlength=len(self.known))
        own = counts[self.source.rows]
        first = (np.cumsum(counts) - counts)[self.source.rows]
        within = np.arange(int(own.sum())) - np.repeat(np.cumsum(own) - own, own)
        codes = self.codes[order][np.repeat(first, own) + within]
        rows = np.repeat(np.arange(len(own)), own)
        return _Values(self.source, self.ids, rows, self.known, codes)


def _spread_mask(values: _Values) -> Bool:
    return np.asarray(values.source.spread(values.known), np.bool_)


def _check_alike(a: _Values, b: _Values) -> None:
    if len(a.ids) and len(b.ids) and (wanted := kind_of_ids(a.ids.type)) != (found := kind_of_ids(b.ids.type)):
        problem = "Values of two types are compared, so that none is equal."
        one, other = a.source.place, b.source.place
        where = other.at(int(b.rows[0]))
        raise not_alike(problem, where, found, wanted, f"column {one.column!r}", (one.column, other.column))


def _codes(a: pa.Array, b: pa.Array) -> Int64:
    """Numbers the different values of two arrays of one type `[len(a) + len(b)]`; one without values has any type."""
    text = is_text(a.type if len(a) else b.type)
    parts = [_text(ids) if text else ids for ids in (a, b) if len(ids)]
    if not parts:
        return np.zeros(0, np.int64)
    indices = pa.concat_arrays(parts).dictionary_encode().indices
    return np.asarray(indices.to_numpy(zero_copy_only=False)).astype(np.int64)


def _numbers(source: SourceColumn, nan_is_missing: bool) -> tuple[Float64, Bool]:
    """Returns numbers by row of the field, and which are known."""
    values, missing = to_numbers(source.array, source.place, "missing" if nan_is_missing else "error")
    return np.asarray(source.spread(values), np.float64), np.asarray(source.spread(~missing), np.bool_)


def _divided(a: tuple[Float64, Bool], b: tuple[Float64, Bool]) -> tuple[Float64, Bool]:
    known = a[1] & b[1] & (b[0] != 0.0)
    with np.errstate(over="ignore"):  # what is too large is refused as any number is
        return a[0] / np.where(known, b[0], 1.0), known


def _subtracted(made: Difference, sources: Sequence[SourceColumn], nan_is_missing: bool) -> tuple[Float64, Bool]:
    if made.unit is None:
        (a, a_known), (b, b_known) = (_numbers(source, nan_is_missing) for source in sources)
        return a - b, a_known & b_known
    times = []
    for source in sources:
        moments, missing = to_epoch(source.array, source.place, made.epoch, nan_is_missing)
        times.append((np.asarray(source.spread(moments), np.int64), np.asarray(source.spread(~missing), np.bool_)))
    (first, first_known), (second, second_known) = times
    known = first_known & second_known
    elapsed = np.where(known, first - second, 0)
    return elapsed / MICROSECONDS[made.unit], known
