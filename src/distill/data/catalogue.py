"""All items with their candidate-side fields, for what is drawn from them whatever the requests recalled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from distill.batch import FeatureBlock, Ragged
from distill.data.format import ITEM_KEY, Dataset, field_column
from distill.data.popularity import ItemExposures, item_exposures
from distill.data.stream.columns import check_finite, check_ids, flat_values
from distill.errors import DataError
from distill.schema import FieldSpec, Kind, Schema, Side


@dataclass(frozen=True)
class Catalogue:
    """The M items of a dataset.

    Attributes:
        item_id: `[M]` int64, as in batches.
        fields: Candidate-side fields, M rows.
        exposures: How often items were exposed in the training split.
        names: Candidate-side id fields, in the order of `fields.ids`.
    """

    item_id: torch.Tensor
    fields: FeatureBlock
    exposures: ItemExposures
    names: tuple[str, ...]


def load_catalogue(dataset: Dataset, view: Schema) -> Catalogue:
    """Reads the catalogue of a dataset.

    Args:
        dataset: Prepared with a catalogue.
        view: Its schema or a part of it, as batches are read.

    Raises:
        DataError: The dataset has no catalogue.
    """
    fields = view.side(Side.CANDIDATE)
    item_id, block = read_items(dataset, view)
    return Catalogue(
        item_id=item_id,
        fields=block,
        exposures=item_exposures(dataset),
        names=tuple(f.name for f in fields if f.is_id),
    )


def read_items(dataset: Dataset, view: Schema) -> tuple[torch.Tensor, FeatureBlock]:
    """Returns the items of a catalogue `[M]`, and their candidate-side fields; see `load_catalogue`."""
    if not dataset.manifest.items:
        raise DataError(
            "The dataset has no catalogue to draw items from.",
            where=str(dataset.root),
            expected="items/",
            remedy="Prepare it with data.items=FILE (one row per item), or leave out what draws from it: random "
            "negatives, item_contrast with items=catalogue.",
        )
    fields = view.side(Side.CANDIDATE)
    names = [ITEM_KEY, *(field_column(f.name) for f in fields)]
    tables = []
    for part in dataset.manifest.items:
        file = dataset.open(part)
        for group in range(file.num_row_groups):
            tables.append(file.read(group, names))
            _check(tables[-1], fields, f"{file.path}, row group {group}")
    table = pa.concat_tables(tables)
    return torch.from_numpy(table.column(ITEM_KEY).to_numpy().copy()), _block(table, fields)


def _check(table: pa.Table, fields: Sequence[FieldSpec], where: str) -> None:
    """Raises DataError for an id that is not in its table, and for a number that is not finite."""
    for field in fields:
        name = field_column(field.name)
        values = flat_values(table, name, where)
        if field.encoding.makes_ids:
            check_ids(values, field.size, f"{where}, column {name}")
        else:
            check_finite(values, f"{where}, column {name}")


def _block(table: pa.Table, fields: Sequence[FieldSpec]) -> FeatureBlock:
    arrays = {f.name: table.column(field_column(f.name)).combine_chunks() for f in fields}
    ids = [arrays[f.name].to_numpy().astype(np.int64) for f in fields if f.is_id]
    numbers = [arrays[f.name].to_numpy() for f in fields if f.is_number]
    vectors = {f.name: arrays[f.name] for f in fields if f.kind is Kind.VECTOR}
    sequences = {f.name: arrays[f.name] for f in fields if f.is_sequence}
    rows = table.num_rows
    return FeatureBlock(
        ids=torch.from_numpy(np.stack(ids, axis=1) if ids else np.zeros((rows, 0), np.int64)),
        numbers=torch.from_numpy(np.stack(numbers, axis=1) if numbers else np.zeros((rows, 0), np.float32)),
        vectors={n: torch.from_numpy(a.flatten().to_numpy().reshape(rows, -1).copy()) for n, a in vectors.items()},
        sequences={
            n: Ragged(
                torch.from_numpy(a.flatten().to_numpy().astype(np.int64)),
                torch.from_numpy(a.value_lengths().to_numpy().astype(np.int64)),
            )
            for n, a in sequences.items()
        },
    )
