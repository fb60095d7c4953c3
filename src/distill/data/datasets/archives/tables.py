"""Tables of archives, block by block: text without much ceremony, joins with small tables, Parquet out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from distill.encodings.arrow import combine
from distill.errors import DataError

_BLOCK_BYTES = 1 << 25
_HEADER_BYTES = 1 << 16
_NULLS = ["", "NULL", "null", "\\N"]
_SHOWN = 40
Types = Mapping[str, pa.DataType]


def archive_file(folder: Path, name: str, archive: str) -> Path:
    """Finds a file of an archive, also as `.gz`.

    Args:
        folder: Of the unpacked archive.
        name: Path of the file in it.
        archive: What is to be unpacked there, for errors.

    Raises:
        DataError: It is not there.
    """
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise DataError(
        "A file of the archive is missing.",
        where=str(folder / name),
        expected=f"{name} (or {name}.gz), from {archive}",
        found="no such file" if folder.is_dir() else "no such folder",
        remedy="Unpack the original archive and give its folder: data.source=DIR.",
    )


def text_blocks(
    path: Path, types: Types, archive: str, *, delimiter: str = ",", header: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """Reads columns of a text file block by block.

    Args:
        path: The file, perhaps compressed with gzip.
        types: Columns to read, with their types.
        archive: Of which archive it is, for errors.
        delimiter: Between cells; cells of tab-separated files are not quoted.
        header: Names of all columns, of a file whose first line does not name them.

    Raises:
        DataError: It lacks a column, has another number of columns, or a cell is not of its type.
    """
    names = _named(path, delimiter) if header is None else list(header)
    missing = [name for name in types if name not in names]
    if missing:
        raise _unfit(path, types, archive, f"no {', '.join(missing[:5])} among {', '.join(names[:_SHOWN])}")
    read = pa_csv.ReadOptions(block_size=_BLOCK_BYTES, column_names=names, skip_rows=int(header is None))
    parse = pa_csv.ParseOptions(delimiter=delimiter, quote_char='"' if delimiter == "," else False)
    convert = pa_csv.ConvertOptions(
        include_columns=list(types), column_types=dict(types), null_values=_NULLS, strings_can_be_null=True
    )
    try:
        with _opened(path) as stream, pa_csv.open_csv(stream, read, parse, convert) as reader:
            for batch in reader:
                yield pa.Table.from_batches([batch])
    except (pa.ArrowException, OSError) as error:
        raise _unfit(path, names if header is not None else types, archive, str(error).splitlines()[0]) from error


def text_table(
    path: Path, types: Types, archive: str, *, delimiter: str = ",", header: Sequence[str] | None = None
) -> pa.Table:
    """Reads columns of a text file that fits into memory; see `text_blocks`."""
    return pa.concat_tables(text_blocks(path, types, archive, delimiter=delimiter, header=header)).combine_chunks()


def parquet_blocks(path: Path, columns: Sequence[str], archive: str) -> Iterator[pa.Table]:
    """Reads columns of a Parquet file block by block.

    Raises:
        DataError: It is none, or lacks a column.
    """
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            missing = [name for name in columns if name not in names]
            if missing:
                found = f"no {', '.join(missing[:5])} among {', '.join(names[:_SHOWN])}"
                raise _unfit(path, columns, archive, found)
            for batch in file.iter_batches(1 << 16, columns=list(columns)):
                yield pa.Table.from_batches([batch])
    except (pa.ArrowException, OSError) as error:
        raise _unfit(path, columns, archive, str(error).splitlines()[0]) from error


def write_blocks(blocks: Iterable[pa.Table], path: Path, source: Path) -> Path:
    """Writes blocks to a Parquet file, and returns it.

    Raises:
        DataError: There are no rows.
    """
    writer: pq.ParquetWriter | None = None
    try:
        for block in blocks:
            writer = writer or pq.ParquetWriter(path, block.schema, compression="zstd")
            writer.write_table(block)
    finally:
        if writer is not None:
            writer.close()
    if writer is None:
        raise DataError("A file of the archive holds no rows.", where=str(source))
    return path


class Lookup:
    """Rows of a table in memory, by their key.

    Args:
        table: With a row for each key; of several with one key the first counts.
        key: Column of the keys.
    """

    def __init__(self, table: pa.Table, key: str) -> None:
        self._keys = combine(table[key])
        self._table = table.drop_columns([key])

    def of(self, keys: pa.ChunkedArray | pa.Array) -> dict[str, pa.Array]:
        """Returns the other columns for some keys; null where a key has no row."""
        wanted = combine(keys).cast(self._keys.type)
        found = self._table.take(pc.index_in(wanted, value_set=self._keys))
        return {name: combine(found[name]) for name in found.column_names}

    def of_lists(self, keys: pa.ChunkedArray | pa.Array) -> dict[str, pa.Array]:
        """Returns lists of the other columns for lists of keys, each as long."""
        lists = combine(keys)
        return {name: relisted(values, lists) for name, values in self.of(lists.flatten()).items()}


def list_lengths(lists: pa.Array) -> pa.Array:
    """Returns how long lists are; null lists are empty."""
    return pc.fill_null(pc.list_value_length(lists), 0).cast(pa.int64())


def lists_of(values: pa.Array, lengths: pa.Array) -> pa.Array:
    """Cuts values into lists of such lengths."""
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), combine(pc.cumulative_sum(lengths))])
    return pa.LargeListArray.from_arrays(offsets, values)


def relisted(values: pa.Array, like: pa.Array) -> pa.Array:
    """Cuts values into lists as long as others."""
    return lists_of(values, list_lengths(like))


def _opened(path: Path) -> pa.NativeFile:
    return pa.input_stream(str(path), compression="gzip" if path.suffix == ".gz" else None)


def _named(path: Path, delimiter: str) -> list[str]:
    """Names of the columns as the first line has them, without the blanks and quotes around them."""
    with _opened(path) as stream:
        line = stream.read(_HEADER_BYTES).split(b"\n")[0]
    return [name.strip().strip('"').strip() for name in line.decode("utf-8-sig", "replace").split(delimiter)]


def _unfit(path: Path, columns: Iterable[str], archive: str, found: str) -> DataError:
    names = list(columns)
    shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    return DataError(
        "A file differs from that of its archive.",
        where=str(path),
        expected=f"the file of {archive}, with {len(names)} columns: {shown}",
        found=found[:300],
        remedy="Unpack the original archive again.",
    )
