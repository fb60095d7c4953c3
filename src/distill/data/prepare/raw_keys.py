"""Ids as they are in the raw data, kept beside the hashes that stand for them: text, and ids of one file alone."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa

from distill.data.format import RAW_ITEM, RAW_REQUEST
from distill.data.prepare.chunk import Chunk
from distill.data.prepare.source import RawFiles
from distill.encodings.arrow import family, plain_type
from distill.encodings.id_values import text_of_key
from distill.schema import Schema

_HASHED = ("string", "time")


@dataclass(frozen=True)
class RawKeys:
    """Which ids of a dataset are kept as they are.

    Attributes:
        request: The raw column of the request ids; None if there is none, or its numbers are the keys themselves.
        item: That of the item ids.
        request_type: Of what is kept of the request ids: whole numbers, or text.
    """

    request: str | None
    item: str | None
    request_type: pa.DataType = field(default_factory=pa.string)

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
        item, request = _hashed(schema.keys.item, files, nested), _hashed(schema.keys.request, files, False)
        if request is not None or not schema.keys.per_file:
            return cls(request, item)
        column = str(schema.keys.request)
        kind = files.types([column])[column]
        return cls(column, item, kind if pa.types.is_integer(kind) else pa.string())

    @property
    def kinds(self) -> dict[str, pa.DataType]:
        """The columns of the dataset that are made of them, with the type of an id."""
        kept = ((RAW_REQUEST, self.request, self.request_type), (RAW_ITEM, self.item, pa.string()))
        return {name: kind for name, column, kind in kept if column is not None}

    def of_requests(self, chunk: Chunk) -> dict[str, pa.Array]:
        """Returns the column of requests `[R]`, if it is kept."""
        if self.request is None:
            return {}
        ids = chunk.request[self.request]
        return {RAW_REQUEST: text_of_key(ids) if pa.types.is_string(self.request_type) else ids}

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
