"""Ids that are text as they are in the raw data, kept beside the hashes that stand for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from distill.data.format import RAW_ITEM, RAW_REQUEST
from distill.data.prepare.chunk import Chunk
from distill.data.prepare.source import RawFiles
from distill.encodings.arrow import family, plain_type
from distill.encodings.values import text_of_key
from distill.schema import Schema

_HASHED = ("string", "time")


@dataclass(frozen=True)
class RawKeys:
    """Which ids of a dataset are kept as they are.

    Attributes:
        request: The raw column of the request ids; None if there is none, or its numbers are the keys themselves.
        item: That of the item ids.
    """

    request: str | None
    item: str | None

    @classmethod
    def of(cls, schema: Schema, files: RawFiles, nested: bool) -> RawKeys:
        """Finds the columns whose keys are hashes.

        Args:
            schema: Of the dataset.
            files: The raw files.
            nested: Whether a raw row is a whole request.
        """
        if not schema.keys.keep:
            return cls(None, None)
        request = schema.keys.request if schema.keys.per_file else _hashed(schema.keys.request, files, False)
        return cls(request, _hashed(schema.keys.item, files, nested))

    @property
    def names(self) -> Sequence[str]:
        """The columns of the dataset that are made of them."""
        return [name for name, column in ((RAW_REQUEST, self.request), (RAW_ITEM, self.item)) if column is not None]

    def of_requests(self, chunk: Chunk) -> dict[str, pa.Array]:
        """Returns the column of requests `[R]`, if it is kept."""
        return {} if self.request is None else {RAW_REQUEST: text_of_key(chunk.request[self.request])}

    def of_candidates(self, chunk: Chunk) -> dict[str, pa.Array]:
        """Returns the column of candidates `[N]`, if it is kept."""
        return {} if self.item is None else {RAW_ITEM: text_of_key(chunk.candidate[self.item])}


def _hashed(column: str | None, files: RawFiles, nested: bool) -> str | None:
    """The column, if its keys are hashes in some of the files."""
    if column is None:
        return None
    prefix = "list of " * nested
    found = {family(plain_type(file.schema.field(column).type)).removeprefix(prefix) for file in files.files}
    return column if found & set(_HASHED) else None
