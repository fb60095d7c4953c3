"""Items with their candidate-side fields, from the catalogue or, without one, from the training split."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from distill.batch import MISSING_KEY, FeatureBlock, TensorStruct
from distill.data.catalogue import read_items
from distill.data.format import Dataset
from distill.data.missing import missing_row
from distill.data.stream import iterate_part
from distill.errors import DataError
from distill.schema import Schema, Side

_BATCH_CANDIDATES = 16_384
_SAMPLED_CANDIDATES = 131_072


@dataclass(frozen=True)
class ItemFields(TensorStruct):
    """M items.

    Attributes:
        item_id: `[M]` int64, distinct, as in batches.
        fields: Candidate-side fields, M rows.
        missing: One row of candidate-side fields, all missing.
        are_all: Whether these are the items of the catalogue, rather than some that the training split has.
    """

    item_id: Tensor
    fields: FeatureBlock
    missing: FeatureBlock
    are_all: bool


def item_fields(dataset: Dataset, view: Schema) -> ItemFields:
    """Reads the catalogue, or the items among the first candidates of the training split if there is none.

    Args:
        dataset: Prepared.
        view: Its schema or a part of it, as the model reads it.

    Raises:
        DataError: The dataset does not know which candidates are the same item.
    """
    missing = missing_row(dataset, view.side(Side.CANDIDATE))
    if dataset.manifest.items:
        return ItemFields(*read_items(dataset, view), missing, are_all=True)
    if dataset.schema.keys.item is None:
        raise DataError(
            "The dataset does not know which candidates are the same item.",
            where=str(dataset.root),
            expected="keys.item in the schema",
            remedy="Name the column of item ids under `keys` and prepare the data again.",
        )
    item_id, fields = reduce(_with_new, _first_candidates(dataset, view))
    return ItemFields(item_id, fields, missing, are_all=False)


def _first_candidates(dataset: Dataset, view: Schema) -> Iterator[tuple[Tensor, FeatureBlock]]:
    """Distinct items of one batch after the other, until enough candidates were seen."""
    seen = 0
    for index in range(len(dataset.parts("train"))):
        for batch in iterate_part(dataset, "train", index, view, _BATCH_CANDIDATES):
            if seen >= _SAMPLED_CANDIDATES:
                return
            seen += batch.num_candidates
            item_id, rows = first_rows(batch.item_id)
            yield item_id, batch.candidate.select(rows)


def _with_new(known: tuple[Tensor, FeatureBlock], more: tuple[Tensor, FeatureBlock]) -> tuple[Tensor, FeatureBlock]:
    (new,) = (~torch.isin(more[0], known[0])).nonzero(as_tuple=True)
    return torch.cat([known[0], more[0][new]]), known[1].joined(more[1].select(new))


def first_rows(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the distinct keys of `keys [N]`, ascending `[M]`, and the first row of each `[M]`; no missing key."""
    found, where = torch.unique(keys, return_inverse=True)
    rows = torch.arange(keys.shape[0], device=keys.device)
    last = rows.new_full((found.shape[0],), keys.shape[0])
    first = last.scatter_reduce(0, where, rows, "amin")
    known = found != MISSING_KEY
    return found[known], first[known]
