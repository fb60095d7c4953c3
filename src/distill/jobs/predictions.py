"""A folder of predictions: a file for each unit of the raw rows, whole or not there; a job can be taken up again."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from distill.files import atomic_file, remove_leftovers_below
from distill.jobs.planned_folder import begin
from distill.sealed import write_sealed

PREDICTIONS_FILE = "predictions.json"
ROW_GROUP = 1 << 17
_COUNTS = b"distill.counts"


class PredictionFolder:
    """Where predictions go.

    Args:
        root: The folder.
        plan: Plain data that says what is predicted; another plan would make other files.
        num_parts: How many files there will be.
    """

    def __init__(self, root: Path, plan: Mapping[str, Any], num_parts: int) -> None:
        self.root = root
        self.plan = dict(plan)
        self.num_parts = num_parts

    def begin(self) -> None:
        """Makes the folder, or takes one up again that the same job left.

        Raises:
            DataError: It holds something else.
        """
        begin(self.root, self.plan, "predictions")
        remove_leftovers_below(self.root)

    def part(self, number: int) -> Path:
        """Path of the file of a unit."""
        return self.root / f"part-{number:05d}.parquet"

    def finish(self) -> dict[str, Any]:
        """Writes what all parts hold together, and returns it: rows, requests, and unknown values by field."""
        remove_leftovers_below(self.root)  # of workers that were lost
        parts, total = [], Counter[str]()
        for number in range(self.num_parts):
            file = pq.ParquetFile(self.part(number))
            parts.append({"path": self.part(number).name, "rows": file.metadata.num_rows})
            total.update(json.loads((file.metadata.metadata or {})[_COUNTS]))
        content = {**self.plan, "parts": parts, "counts": dict(total)}
        write_sealed(self.root / PREDICTIONS_FILE, content)
        return content


class PredictionWriter:
    """Writes the files of a folder, one after another, row group by row group: none is ever whole in memory.

    A context: a file that is not finished when it ends is not there.

    Args:
        folder: Where they go.
        made: Columns of numbers that a model made: hardly two are equal, so no dictionary or compression pays.
    """

    def __init__(self, folder: PredictionFolder, made: Collection[str]) -> None:
        self._folder, self._made = folder, frozenset(made)
        self._number: int | None = None
        self._counts: Counter[str] = Counter()
        self._waiting: list[pa.Table] = []
        self._writer: pq.ParquetWriter | None = None
        self._file = ExitStack()

    def __enter__(self) -> PredictionWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._number is not None:
            unfinished = error or RuntimeError("not finished")
            self._file.__exit__(type(unfinished), unfinished, traceback)

    def add(self, number: int, table: pa.Table, counts: Mapping[str, int]) -> None:
        """Adds rows to the file of a unit; the file of another unit is finished first.

        Args:
            number: Of the unit.
            table: Its next rows.
            counts: What was counted while they were made.
        """
        if number != self._number:
            self.finish()
            self._begin(number, table.schema)
        self._counts.update(counts)
        self._waiting.append(table)
        if sum(map(len, self._waiting)) >= ROW_GROUP:
            self._write(whole=True)

    def finish(self) -> None:
        """Finishes the file that rows were added to, if there is one: it is there from now on."""
        if self._writer is None:
            return
        self._write(whole=False)
        self._writer.add_key_value_metadata({_COUNTS: json.dumps(dict(self._counts)).encode()})
        self._file.close()
        self._writer = self._number = None

    def _begin(self, number: int, schema: pa.Schema) -> None:
        self._number, self._counts = number, Counter()
        beside = self._file.enter_context(atomic_file(self._folder.part(number)))
        names = _stored_names(schema)
        compact = [name for name in names if name not in self._made]
        compression = {name: "zstd" if name in compact else "none" for name in names}
        writer = pq.ParquetWriter(beside, schema, compression=compression, use_dictionary=compact)
        self._writer = self._file.enter_context(writer)

    def _write(self, *, whole: bool) -> None:
        """Writes the rows that wait, or only those of whole row groups."""
        assert self._writer is not None
        table = pa.concat_tables(self._waiting)
        rows = len(table) // ROW_GROUP * ROW_GROUP if whole else len(table)
        if rows:
            self._writer.write_table(table.slice(0, rows), row_group_size=ROW_GROUP)
        self._waiting = [table.slice(rows)]


def _stored_names(schema: pa.Schema) -> list[str]:
    """Names that Parquet gives the columns that it stores: those of a list or a struct have names of their own."""
    empty = io.BytesIO()
    pq.write_table(schema.empty_table(), empty)
    return [column.path for column in pq.ParquetFile(empty).schema]
