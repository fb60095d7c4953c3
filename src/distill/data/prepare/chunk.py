"""Some whole requests of raw data, in one form whatever the raw shape was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from distill.encodings.arrow import Bool, Int64
from distill.encodings.fitted import RawColumn
from distill.encodings.made import read_field
from distill.encodings.place import Place
from distill.schema import FieldSpec, Side

Int8 = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Chunk:
    """R requests with their N candidates; R = N in flat data.

    Attributes:
        request: Raw column to its plain array `[R]`.
        candidate: Raw column to its plain array `[N]`.
        counts: Candidates of each request `[R]`.
        split: Split of each request `[R]`, an index into `SPLITS`.
        request_key: `[R]`.
        user_key: `[R]`.
        request_row: Number of the first raw row of each request `[R]`.
        candidate_row: Number of the raw row of each candidate `[N]`.
        nested: Whether the raw row of a candidate holds the whole request.
        locate: Raw row number to its place.
        number: Place of each candidate in its raw request `[N]`, if some were left out.
    """

    request: Mapping[str, pa.Array]
    candidate: Mapping[str, pa.Array]
    counts: Int64
    split: Int8
    request_key: Int64
    user_key: Int64
    request_row: Int64
    candidate_row: Int64
    nested: bool
    locate: Callable[[int], str]
    number: Int64 | None = None

    @property
    def num_candidates(self) -> int:
        """N."""
        return len(self.candidate_row)

    @property
    def num_raw_rows(self) -> int:
        """Raw rows that the chunk was made of."""
        return len(self.counts) if self.nested else self.num_candidates

    @property
    def candidate_split(self) -> Int8:
        """Split of each candidate `[N]`."""
        return np.repeat(self.split, self.counts)

    def select(self, kept: Bool) -> Chunk:
        """Returns the chunk with some of its candidates, a mask `[N]`; requests stay, even those left without any."""
        request = np.repeat(np.arange(len(self.counts)), self.counts)
        mask = pa.array(kept)
        return replace(
            self,
            candidate={name: column.filter(mask) for name, column in self.candidate.items()},
            counts=np.bincount(request[kept], minlength=len(self.counts)),
            candidate_row=self.candidate_row[kept],
            number=self.numbers[kept],
        )

    @property
    def numbers(self) -> Int64:
        """Place of each candidate in its raw request `[N]`."""
        if self.number is not None:
            return self.number
        return np.arange(self.num_candidates) - np.repeat(np.cumsum(self.counts) - self.counts, self.counts)

    def column(self, side: Side, name: str, purpose: str) -> tuple[pa.Array, Place]:
        """Returns a raw column as one side sees it, and its place."""
        if side is Side.REQUEST:
            return self.request[name], self.request_place(name, purpose)
        return self.candidate[name], self.candidate_place(name, purpose)

    def of_field(self, spec: FieldSpec) -> RawColumn:
        """Returns a field with its raw values and their place."""
        index = np.repeat(np.arange(len(self.counts)), self.counts) if spec.reads_pairs else None
        return spec, *read_field(spec, lambda name, side, purpose: self.column(side, name, purpose), index)

    def request_place(self, name: str, purpose: str) -> Place:
        """Returns the place of an array `[R]`."""
        return Place(name, purpose, lambda position: self.locate(int(self.request_row[position])))

    def candidate_place(self, name: str, purpose: str) -> Place:
        """Returns the place of an array `[N]`."""

        def locate(position: int) -> str:
            row = self.locate(int(self.candidate_row[position]))
            if not self.nested:
                return row
            return f"{row}, candidate {self.numbers[position]}"

        return Place(name, purpose, locate)
