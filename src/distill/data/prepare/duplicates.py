"""Candidates whose item is in their request before, and what becomes of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from distill.codes import MISSING_KEY
from distill.data.prepare.chunk import Chunk
from distill.data.prepare.keys import keys_of
from distill.encodings.arrow import Bool, Int64
from distill.errors import DataError
from distill.schema import Schema

_GAMMA = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Repeats:
    """Candidates of a chunk that share request and item with another one.

    Attributes:
        rows: Their positions `[M]`, those of one request and item together and in the order of the raw data.
        starts: Where in `rows` each group of them starts `[G]`; a group has two or more.
        num_candidates: N of the chunk.
    """

    rows: Int64
    starts: Int64
    num_candidates: int

    @property
    def firsts(self) -> Int64:
        """The first position of each group `[G]`."""
        return self.rows[self.starts]

    @property
    def later(self) -> tuple[Int64, Int64]:
        """The positions that are not the first of their group, and that first one `[M − G]` each."""
        is_later = np.ones(len(self.rows), np.bool_)
        is_later[self.starts] = False
        sizes = np.diff(np.append(self.starts, len(self.rows)))
        return self.rows[is_later], np.repeat(self.firsts, sizes)[is_later]

    def kept(self, last: bool) -> Bool:
        """Returns which candidates stay if one of each group does `[N]`."""
        kept = np.ones(self.num_candidates, np.bool_)
        kept[self.rows] = False
        kept[self.rows[np.append(self.starts[1:], len(self.rows)) - 1] if last else self.firsts] = True
        return kept


def find_repeats(chunk: Chunk, items: Int64) -> Repeats | None:
    """Finds candidates of one request with the same item; unknown items are not the same.

    Args:
        chunk: Whole requests.
        items: Item keys `[N]`.

    Returns:
        None if there are none.
    """
    request = np.repeat(np.arange(len(chunk.counts)), chunk.counts)
    known = items != MISSING_KEY
    with np.errstate(over="ignore"):
        pair = items.view(np.uint64) + request.astype(np.uint64) * _GAMMA
    ascending = np.sort(pair if known.all() else pair[known])
    again = ascending[1:] == ascending[:-1]
    if not again.any():
        return None
    # Few are left: those of equal sums, which other pairs may have by chance.
    rows = np.flatnonzero(known & np.isin(pair, ascending[1:][again]))
    rows = rows[np.lexsort((rows, items[rows], request[rows]))]
    is_first = np.ones(len(rows), np.bool_)
    is_first[1:] = (request[rows[1:]] != request[rows[:-1]]) | (items[rows[1:]] != items[rows[:-1]])
    is_last = np.append(is_first[1:], True)
    rows, is_first = (array[~(is_first & is_last)] for array in (rows, is_first))
    return Repeats(rows, np.flatnonzero(is_first), len(items)) if len(rows) else None


def without_repeats(chunk: Chunk, schema: Schema) -> Chunk:
    """Leaves out the candidates that `duplicates` of the schema leaves out.

    Raises:
        DataError: There is one, and it is `error`.
    """
    if schema.duplicates == "keep" or schema.keys.item is None:
        return chunk
    place = chunk.candidate_place(schema.keys.item, "keys.item")
    repeats = find_repeats(chunk, keys_of(chunk.candidate[schema.keys.item], place)[0])
    if repeats is None:
        return chunk
    if schema.duplicates == "error":
        row, other = (int(rows[0]) for rows in repeats.later)
        request, item = pair_name(chunk, schema, row)
        raise DataError(
            "An item is in its request twice.",
            where=place.at(row),
            expected=f"one candidate of the item, as {place.locate(other)} is already (`duplicates: error`)",
            found=f"item {item} again in request {request}",
            remedy="Leave one of the rows out, or say which to keep: `duplicates: first`, `last` or `merge`.",
        )
    return chunk.select(repeats.kept(schema.duplicates == "last"))


def pair_name(chunk: Chunk, schema: Schema, row: int) -> tuple[str, str]:
    """Returns the request and the item of a candidate as they are in the raw data; a row number without request ids."""
    request = int(np.searchsorted(np.cumsum(chunk.counts), row, side="right"))
    assert schema.keys.item is not None
    item = str(chunk.candidate[schema.keys.item][row].as_py())[:100]
    if schema.keys.request is None:
        return f"row {chunk.request_row[request]}", item
    return str(chunk.request[schema.keys.request][request].as_py())[:100], item
