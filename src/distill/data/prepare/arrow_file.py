"""Arrow files (Feather, IPC files and streams) and ORC files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.orc as orc

from distill.data.prepare.raw_file import first_rows, from_row, unreadable
from distill.encodings.arrow import with_readable_names

_EXPANSION = 2
_FILE_MARK = b"ARROW1"


class ArrowFile:
    """A file of record batches; holds none of them.

    Args:
        path: A Feather (version 2), Arrow IPC or ORC file.
        needed: Columns that will be read.
        is_orc: Whether it is ORC.
        most_rows: Only so many first rows are read, as if there were no others.

    Raises:
        DataError: It cannot be read.
    """

    def __init__(self, path: Path, needed: Sequence[str], is_orc: bool, most_rows: int | None = None) -> None:
        self.path = path
        self._all = self._orc if is_orc else self._ipc
        self._most_rows = most_rows
        self._num_rows, self._bytes = 0, 0
        try:
            self._schema = with_readable_names(self._schema_of(is_orc))
            names = Counter(self._schema.names)
            once = [name for name in needed if names[name] == 1]
            for batch in self._stored(once):
                self._num_rows += batch.num_rows
                self._bytes += batch.nbytes
        except (pa.ArrowException, OSError) as error:
            raise unreadable(path, error) from error
        self._num_needed = len(once)

    @property
    def num_rows(self) -> int:
        """Rows."""
        return self._num_rows

    @property
    def schema(self) -> pa.Schema:
        """Columns and their Arrow types."""
        return self._schema

    def memory(self, columns: Sequence[str]) -> int:
        """Estimates the bytes of some columns in memory."""
        share = len(columns) / max(1, self._num_needed)
        return int(max(_EXPANSION * self._bytes * share, 16 * len(columns) * self._num_rows))

    def batches(
        self, columns: Sequence[str], batch_bytes: int, dictionaries: Sequence[str] = (), start: int = 0
    ) -> Iterator[pa.RecordBatch]:
        """Streams some columns from a row on, in batches of about so many bytes at most, as they are stored.

        Raises:
            DataError: A batch cannot be read.
        """
        try:
            for batch in from_row(self._stored(columns), start):
                rows = max(64, batch_bytes * max(1, batch.num_rows) // max(1, _EXPANSION * batch.nbytes))
                for begin in range(0, batch.num_rows, rows):
                    yield batch.slice(begin, rows)
        except (pa.ArrowException, OSError) as error:
            raise unreadable(self.path, error) from error

    def locate(self, row: int) -> str:
        """Names a row of the file."""
        return f"{self.path}, row {row}"

    def _stored(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        return first_rows(self._all(columns), self._most_rows)

    def _schema_of(self, is_orc: bool) -> pa.Schema:
        if is_orc:
            return orc.ORCFile(str(self.path)).schema
        with pa.memory_map(str(self.path)) as source:
            return (ipc.open_file if self._is_file(source) else ipc.open_stream)(source).schema

    def _orc(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        file = orc.ORCFile(str(self.path))
        for stripe in range(file.nstripes):
            yield file.read_stripe(stripe, columns=list(columns)).select(list(columns))

    def _ipc(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        with pa.memory_map(str(self.path)) as source:
            names = self._schema.names
            options = ipc.IpcReadOptions(included_fields=[names.index(name) for name in columns])
            if not self._is_file(source):
                for batch in ipc.open_stream(source, options=options):
                    yield batch.select(list(columns))
                return
            reader = ipc.open_file(source, options=options)
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number).select(list(columns))

    @staticmethod
    def _is_file(source: pa.MemoryMappedFile) -> bool:
        """Whether it is the format with a footer, rather than a stream."""
        start = source.read(len(_FILE_MARK))
        source.seek(0)
        return bool(start == _FILE_MARK)
