"""What a split holds, from Parquet footers and request lengths alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from distill.data.checked_file import CheckedFile
from distill.data.format import NUM_CANDIDATES, Dataset, PartFile, Split
from distill.data.stream.columns import integers, same_type, single_array
from distill.data.stream.packing import Ints
from distill.errors import DataError


@dataclass(frozen=True)
class PartIndex:
    """One part file.

    Attributes:
        file: Where it is, and its footer.
        group_starts: First request of each row group, and the number of requests at the end `[G + 1]`.
        ends: Candidates before each request, and their number at the end `[R + 1]`; None in the flat layout.
        first_row: Candidates of the split before this file.
    """

    file: CheckedFile
    group_starts: Ints
    ends: Ints | None
    first_row: int

    @property
    def num_requests(self) -> int:
        """Requests in the file, empty ones included."""
        return int(self.group_starts[-1])

    @property
    def num_candidates(self) -> int:
        """Candidates in the file."""
        return self.candidates(0, self.num_requests)

    def candidates(self, start: int, stop: int) -> int:
        """Counts the candidates of requests `start..stop`."""
        return stop - start if self.ends is None else int(self.ends[stop] - self.ends[start])

    def lengths(self, start: int, stop: int) -> Ints:
        """Returns the candidates of each request of `start..stop`."""
        return np.ones(stop - start, dtype=np.int64) if self.ends is None else np.diff(self.ends[start : stop + 1])

    def row(self, request: int) -> int:
        """Returns the position in the split of the first candidate of a request."""
        return self.first_row + (request if self.ends is None else int(self.ends[request]))


@dataclass(frozen=True)
class SplitIndex:
    """All part files of a split, in manifest order."""

    split: Split
    parts: tuple[PartIndex, ...]

    @cached_property
    def num_candidates(self) -> int:
        """Candidates in the split."""
        return sum(part.num_candidates for part in self.parts)

    @cached_property
    def num_empty_requests(self) -> int:
        """Requests without a candidate; they are in no batch."""
        return sum(int((np.diff(part.ends) == 0).sum()) for part in self.parts if part.ends is not None)

    @cached_property
    def num_row_groups(self) -> int:
        """Row groups in the split."""
        return sum(part.file.num_row_groups for part in self.parts)


def index_split(dataset: Dataset, split: Split, columns: pa.Schema) -> SplitIndex:
    """Reads the footers and request lengths of a split and checks that its columns are there.

    Args:
        dataset: The dataset.
        split: Which split.
        columns: Columns that will be read, with their types.

    Raises:
        DataError: A file cannot be read, lacks a column, has another type or another length than the manifest says,
            or the split has no candidates.
    """
    parts: list[PartIndex] = []
    first_row = 0
    for part in dataset.parts(split):
        parts.append(index_part(dataset, part, columns, first_row))
        first_row += part.candidates
    if first_row == 0:
        raise DataError(
            f"No request of the {split} split has a candidate.",
            where=str(dataset.root / split),
            remedy="Check the raw data and prepare it again.",
        )
    return SplitIndex(split, tuple(parts))


def index_part(dataset: Dataset, part: PartFile, columns: pa.Schema, first_row: int) -> PartIndex:
    """Reads the footer and the request lengths of one part file.

    Raises:
        DataError: See `index_split`.
    """
    file = dataset.open(part)
    _check_columns(file.path, file.schema, columns)
    ends = _request_ends(file) if dataset.schema.layout == "requests" else None
    index = PartIndex(file, np.cumsum([0, *file.rows], dtype=np.int64), ends, first_row)
    if (index.num_requests, index.num_candidates) != (part.rows, part.candidates):
        raise DataError(
            "A part file does not match the manifest.",
            where=str(file.path),
            expected=f"{part.rows} rows with {part.candidates} candidates",
            found=f"{index.num_requests} rows with {index.num_candidates} candidates",
            remedy="Prepare the data again.",
        )
    return index


def _check_columns(path: Path, found: pa.Schema, expected: pa.Schema) -> None:
    for column in expected:
        position = found.get_field_index(column.name)
        if position < 0 or not same_type(found.field(position).type, column.type):
            raise DataError(
                "A column is missing." if position < 0 else "A column has another type than the schema says.",
                where=f"{path}, column {column.name}",
                expected=str(column.type),
                found="no such column" if position < 0 else str(found.field(position).type),
                remedy="Prepare the data again with this schema.",
            )


def _request_ends(file: CheckedFile) -> Ints:
    table = pa.concat_tables([file.schema.empty_table().select([NUM_CANDIDATES]), *file.tables([NUM_CANDIDATES])])
    lengths = integers(single_array(table, NUM_CANDIDATES, str(file.path)))
    if lengths.size and int(lengths.min()) < 0:
        raise DataError(
            "A request has a negative number of candidates.",
            where=f"{file.path}, column {NUM_CANDIDATES}, row {int(lengths.argmin())}",
            found=str(int(lengths.min())),
            remedy="Prepare the data again.",
        )
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)])
