"""Encodes the catalogue with the encodings of the training split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from distill.data.format import ITEM_KEY, PartFile, field_column, items_schema
from distill.data.prepare.counts import Counts
from distill.data.prepare.key_types import KeyColumn, check_one_type
from distill.data.prepare.keys import keys_of, raw_place
from distill.data.prepare.plan import check_columns, open_files
from distill.data.prepare.source import RawBatch, RawFiles
from distill.data.prepare.uses import Use, field_uses
from distill.data.prepare.writer import PartWriter
from distill.encodings.arrow import Int64
from distill.encodings.fitted import FittedEncodings, RawColumn
from distill.encodings.made import read_field
from distill.encodings.values import first
from distill.engines import Advance
from distill.errors import DataError, SchemaError
from distill.files import own_folder
from distill.schema import FieldSpec, Schema, Side

ITEMS = "items"


def item_uses(schema: Schema) -> tuple[Use, ...]:
    """Lists the uses of raw columns of the catalogue.

    Raises:
        SchemaError: The schema names no item key.
    """
    if schema.keys.item is None:
        raise SchemaError("A catalogue needs item keys.", where="keys.item", remedy="Declare the item column.")
    key = Use(schema.keys.item, "keys.item", True, ("int", "string", "bool", "float"))
    return (key, *field_uses(schema.side(Side.CANDIDATE)))


def open_items(path: Path, schema: Schema, logs: RawFiles) -> RawFiles:
    """Opens the catalogue and checks its columns.

    Args:
        path: Of the catalogue.
        schema: Names the columns.
        logs: The raw files whose candidates are items of the catalogue.

    Raises:
        DataError: It cannot be read, a column is missing or has the wrong type, or its item keys are not of the type
            of those of the candidates: no item would be found.
    """
    uses = item_uses(schema)
    files = open_files([path], schema, uses, raw=schema.value_reading)
    check_columns(files, uses, "flat")
    own, of_logs = (KeyColumn(raw, uses[0].column, uses[0].purpose) for raw in (files, logs))
    check_one_type("The item keys of the catalogue are of another type than those of the candidates.", own, of_logs)
    return files


@dataclass(frozen=True)
class Catalogue:
    """Items to encode.

    Attributes:
        files: Their file.
        schema: Of the dataset.
        fitted: Its encodings.
    """

    files: RawFiles
    schema: Schema
    fitted: FittedEncodings


@dataclass(frozen=True)
class WrittenItems:
    """The folder of the part files, these, and what was counted."""

    folder: Path
    parts: tuple[PartFile, ...]
    counts: Counts


def write_items(catalogue: Catalogue, folder: Path, advance: Advance) -> WrittenItems:
    """Writes the catalogue to a folder in `folder`, in the order of its file, as the task of an engine.

    Raises:
        DataError: An item key is null or there twice, or a column does not hold what its field says.
    """
    files, schema, counts, root = catalogue.files, catalogue.schema, Counts(), own_folder(folder)
    writer = PartWriter(root, ITEMS, items_schema(schema))
    seen = []
    columns = sorted({use.column for use in item_uses(schema)})
    for batch in files.batches(columns):
        encoded = _encode(batch, files, schema, catalogue.fitted, counts)
        seen.append(encoded.column(0).to_numpy())
        writer.add(encoded, np.ones(batch.num_rows, np.int64))
        advance(batch.num_rows)
    _check_unique(np.concatenate(seen) if seen else np.zeros(0, np.int64), files)
    return WrittenItems(root / ITEMS, writer.close(), counts)


def _encode(
    batch: RawBatch, files: RawFiles, schema: Schema, fitted: FittedEncodings, counts: Counts
) -> pa.RecordBatch:
    assert schema.keys.item is not None
    place = raw_place(batch, schema.keys.item, "keys.item", files)
    keys, missing = keys_of(batch.columns[schema.keys.item], place)
    if (position := first(missing)) >= 0:
        raise DataError("An item of the catalogue has no key.", where=place.at(position), found="null")
    columns = {ITEM_KEY: pa.array(keys)}

    def column(spec: FieldSpec) -> RawColumn:
        return spec, *read_field(spec, lambda name, _, use: (batch.columns[name], raw_place(batch, name, use, files)))

    for spec in schema.side(Side.CANDIDATE):
        encoded = fitted.encode(*column(spec), by=[*map(column, schema.groups_of(spec))])
        columns[field_column(spec.name)] = encoded.array
        counts.add(f"missing/items/{spec.name}", len(encoded.missing))
        counts.add(f"oov/items/{spec.name}", len(encoded.oov))
        if spec.cold is not None:
            counts.add(f"grouped/items/{spec.name}", len(encoded.grouped))
    target = items_schema(schema)
    return pa.RecordBatch.from_arrays([columns[name] for name in target.names], schema=target)


def _check_unique(keys: Int64, files: RawFiles) -> None:
    order = np.argsort(keys, kind="stable")
    repeated = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    if len(repeated):
        one, other = sorted(int(row) for row in order[repeated[0] : repeated[0] + 2])
        raise DataError(
            "An item is in the catalogue twice.",
            where=f"{files.locate(other)} (keys.item)",
            expected=f"one row per item; the key is that of {files.locate(one)} already",
            found=f"key {keys[one]}",
            remedy="Leave one of the rows out.",
        )
