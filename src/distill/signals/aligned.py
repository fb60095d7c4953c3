"""Writes teacher signals in the rows and row groups of the part file that they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from distill.codes import MISSING_KEY
from distill.data.checked_file import CheckedFile
from distill.data.format import NUM_CANDIDATES, RAW_OF_KEY
from distill.encodings.arrow import combine
from distill.errors import SignalError
from distill.files import atomic_file, room_for

Values = NDArray[np.float32 | np.float16]


def as_type(values: NDArray[np.float32], kind: str, path: Path, name: str) -> Values:
    """Returns values as numbers of a type.

    Raises:
        SignalError: They do not fit into float16.
    """
    if kind == "float32":
        return values
    if values.size and np.abs(values).max() > np.finfo(np.float16).max:
        raise SignalError(
            "A hidden vector does not fit into float16.",
            where=f"{path}, column {name}",
            expected=f"numbers up to {np.finfo(np.float16).max}",
            found=f"{np.abs(values).max()}",
            remedy="Write it as hidden_type=float32.",
        )
    return values.astype(np.float16)


def write_aligned(
    columns: Mapping[str, Values],
    part: CheckedFile,
    path: Path,
    metadata: Mapping[bytes, bytes],
    nested: bool,
    keys: Sequence[str] = (),
) -> None:
    """Writes columns, one value or vector a candidate, as a whole file or none.

    Args:
        columns: Name to `[N]` or `[N, W]`, in the order of the part's candidates.
        part: The part file of the dataset.
        path: Where to.
        metadata: Of the file.
        nested: Whether a row is a request with a list of candidates.
        keys: `REQUEST_KEY` and `ITEM_KEY`, as far as they are written too, as they were in the raw data.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with room_for(path), atomic_file(path) as beside:
        _write(columns, part, beside, metadata, nested, keys)


def _write(
    columns: Mapping[str, Values],
    source: CheckedFile,
    path: Path,
    metadata: Mapping[bytes, bytes],
    nested: bool,
    keys: Sequence[str],
) -> None:
    raw = {key: RAW_OF_KEY[key] if RAW_OF_KEY[key] in source.schema.names else key for key in keys}
    schema = pa.schema(
        [
            *(pa.field(key, source.schema.field(name).type) for key, name in raw.items()),
            *(pa.field(name, _type(values, nested), nullable=False) for name, values in columns.items()),
        ],
        metadata=dict(metadata),
    )
    start = 0
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
        for group, rows in enumerate(source.rows):
            offsets, stop = None, start + rows
            if nested:
                lengths = source.read(group, [NUM_CANDIDATES]).column(0).to_numpy()
                offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
                stop = start + int(lengths.sum())
            copied = source.read(group, [*raw.values()]) if raw else None
            arrays = [] if copied is None else [_with_nulls(combine(copied[name])) for name in raw.values()]
            arrays += [_array(values[start:stop], offsets) for values in columns.values()]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=max(rows, 1))
            start = stop


def _type(values: Values, nested: bool) -> pa.DataType:
    number = pa.from_numpy_dtype(values.dtype)
    kind = number if values.ndim == 1 else pa.list_(number, values.shape[1])
    return pa.list_(kind) if nested else kind


def _with_nulls(keys: pa.Array) -> pa.Array:
    """Keys, null where there was none: in prepared columns a number stands for that."""
    values = keys.values if pa.types.is_list(keys.type) else keys
    if not pa.types.is_integer(values.type):
        return keys
    known = pc.replace_with_mask(values, pc.equal(values, MISSING_KEY), pa.scalar(None, values.type))
    return known if values is keys else pa.ListArray.from_arrays(keys.offsets, known).cast(keys.type)


def _array(values: Values, offsets: pa.Array | None) -> pa.Array:
    flat = pa.array(values.reshape(-1))
    inner = flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    return inner if offsets is None else pa.ListArray.from_arrays(offsets, inner)
