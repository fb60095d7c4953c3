"""A bounded sample of raw files: their first rows, from files that are spread over the list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from distill.data.prepare.paths import leaves_of, with_paths
from distill.data.prepare.raw_file import RawFile
from distill.data.prepare.source import open_start
from distill.encodings.arrow import common_type, family, plain_type, to_plain
from distill.errors import DataError

MOST_FILES = 8
_SAMPLE_BYTES = 1 << 28
_BATCH_BYTES = 1 << 24
_NUMBERS = {"int", "float", "bool"}


@dataclass(frozen=True)
class Sample:
    """The first rows of some files.

    Attributes:
        columns: Raw column to its plain values `[rows]`; in place of structs, the paths to what they hold.
        unusable: Raw column to why it cannot be used.
        rows: Rows.
        files: Files that they are from.
        of_files: Files that there are.
        rows_of: Rows of each file that they are from.
    """

    columns: dict[str, pa.Array]
    rows: int
    files: int
    of_files: int
    unusable: dict[str, str] = field(default_factory=dict)
    rows_of: tuple[int, ...] = ()


def read_sample(paths: Sequence[Path], rows: int) -> Sample:
    """Reads at most so many first rows, and 256 MiB, of at most eight files.

    Raises:
        DataError: A file cannot be read, or there are no rows.
    """
    chosen = [paths[i] for i in spread(len(paths), min(MOST_FILES, rows))]
    parts: list[dict[str, pa.Array]] = []
    unusable: dict[str, str] = {}
    rows_of: list[int] = []
    left, bytes_left = rows, _SAMPLE_BYTES
    for i, path in enumerate(chosen):
        file, names = open_start(path, -(-left // (len(chosen) - i)))
        unusable |= {name: "there twice in a file: rename one" for name, times in names.items() if times > 1}
        file, wanted, unnamed = _flattened(file, names)
        unusable |= unnamed
        read = _first_rows(file, wanted, -(-left // (len(chosen) - i)), bytes_left // (len(chosen) - i))
        plain = {name: _plain(column) for name, column in read.items()}
        parts.append({name: column for name, column in plain.items() if not isinstance(column, str)})
        unusable |= {name: why for name, why in plain.items() if isinstance(why, str)}
        rows_of.append(len(next(iter(read.values()), ())))
        left -= rows_of[-1]
        bytes_left -= sum(array.nbytes for array in parts[-1].values())
    if left == rows:
        raise DataError("The files hold no rows.", where=str(chosen[0]), remedy="Give files with rows.")
    columns: dict[str, pa.Array] = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        if name in unusable:
            continue
        joined = _joined([part[name] for part in parts if name in part])
        if any(name not in part for part in parts):
            unusable[name] = "not in every file"
        elif isinstance(joined, str):
            unusable[name] = joined
        else:
            columns[name] = joined
    return Sample(columns, rows - left, len(chosen), len(paths), unusable, tuple(rows_of))


def spread(number: int, most: int) -> list[int]:
    """Returns at most so many of the numbers 0…n−1, evenly spread, the first and the last among them."""
    return sorted({round(i) for i in np.linspace(0, number - 1, min(number, most))})


def _flattened(file: RawFile, names: Counter[str]) -> tuple[RawFile, list[str], dict[str, str]]:
    """Returns a file with paths in place of its structs, the columns that are in it once, and what no path names."""
    once = [name for name in dict.fromkeys(file.schema.names) if names[name] <= 1]
    leaves = leaves_of(pa.schema([file.schema.field(name) for name in once]))
    wanted = [path for name in once for path in (leaves[name].named if name in leaves else [name])]
    why = "no path leads to it: a name holds a dot or a bracket, or a column has this name; rename it"
    unnamed = {path: why for one in leaves.values() for path in one.others if path not in once}
    unnamed |= {name: "a struct of nothing" for name, one in leaves.items() if not (one.named or one.others)}
    return with_paths(file, wanted), wanted, unnamed


def _first_rows(file: RawFile, wanted: list[str], rows: int, most_bytes: int) -> dict[str, pa.ChunkedArray]:
    """Reads columns until enough rows or bytes are there; at least one batch."""
    batches: list[pa.RecordBatch] = []
    read = size = 0
    for batch in file.batches(wanted, min(_BATCH_BYTES, most_bytes)) if wanted else ():
        batches.append(batch.slice(0, rows - read))
        read, size = read + batches[-1].num_rows, size + batch.nbytes
        if read == rows or size >= most_bytes:
            break
    kinds = {name: file.schema.field(name).type for name in wanted}
    return {name: pa.chunked_array([batch.column(name) for batch in batches], kinds[name]) for name in wanted}


def _plain(column: pa.ChunkedArray) -> pa.Array | str:
    """Returns plain values; else why they cannot be taken."""
    try:
        array = to_plain(column)
        if "string" in str(array.type):
            array.validate(full=True)
    except pa.ArrowException as error:
        limits = "integers must fit into 64 bits, text must be UTF-8, times within 292,000 years of 1970"
        return f"values cannot be taken ({str(error).splitlines()[0]:.100}): {limits}"
    return array


def _joined(arrays: list[pa.Array]) -> pa.Array | str:
    """Joins a column of several files, as text where one file holds text; else why it cannot be joined."""
    kinds = [plain_type(array.type) for array in arrays]
    families = {family(kind) for kind in kinds} - {"null"}
    if len(families) <= 1 or families <= _NUMBERS:
        target = common_type(kinds, numeric=True) if families else kinds[0]
    elif "string" in families and families <= {*_NUMBERS, "string", "time"}:
        target = pa.string()
    else:
        return f"of several types: {', '.join(sorted(families))}"
    try:
        return pa.concat_arrays([to_plain(array, target) for array in arrays])
    except pa.ArrowException as error:
        return f"the files do not fit together: {str(error).splitlines()[0]:.100}"
