"""The items of a dataset, with and without a catalogue."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from distill.batch import MISSING_KEY
from distill.data.build import build_dataset
from distill.data.catalogue import load_catalogue
from distill.data.format import Dataset
from distill.data.funnel import FunnelSource
from distill.data.items import first_rows, item_fields
from distill.data.stream import iterate_part
from distill.errors import DataError


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return build_dataset(FunnelSource(requests=60, warmup=20, users=20, items=120), tmp_path_factory.mktemp("items"))


def without_catalogue(dataset: Dataset) -> Dataset:
    return replace(dataset, manifest=dataset.manifest.model_copy(update={"items": ()}))


def test_the_catalogue_is_all_items(dataset: Dataset) -> None:
    view = dataset.schema.serving_view()
    found, expected = item_fields(dataset, view), load_catalogue(dataset, view)
    assert found.are_all
    assert torch.equal(found.item_id, expected.item_id)
    assert torch.equal(found.fields.numbers, expected.fields.numbers)
    fitted = dataset.manifest.encodings.numbers
    assert found.missing.ids.eq(0).all()
    assert found.missing.numbers[0].tolist() == pytest.approx(
        [fitted[name].fill for name in ("price", "item_ctr", "item_age")]
    )


def test_without_a_catalogue_items_come_from_the_training_split(dataset: Dataset) -> None:
    view = dataset.schema.serving_view()
    found = item_fields(without_catalogue(dataset), view)
    assert not found.are_all
    batches = [
        batch
        for index in range(len(dataset.parts("train")))
        for batch in iterate_part(dataset, "train", index, view, 1000)
    ]
    seen = torch.cat([batch.item_id for batch in batches])
    assert found.item_id.unique().numel() == found.item_id.numel() == seen.unique().numel()
    ids = torch.cat([batch.candidate.ids for batch in batches])
    rows = torch.tensor([int((seen == item).nonzero()[0]) for item in found.item_id])
    assert torch.equal(found.fields.ids, ids[rows])


def test_candidates_without_item_ids_are_no_items(dataset: Dataset) -> None:
    nameless = dataset.schema.model_copy(update={"keys": dataset.schema.keys.model_copy(update={"item": None})})
    with pytest.raises(DataError, match=r"keys\.item"):
        item_fields(replace(without_catalogue(dataset), schema=nameless), nameless.serving_view())


def test_first_rows_of_distinct_keys() -> None:
    keys, rows = first_rows(torch.tensor([7, -2, 7, 3, -2]))
    assert keys.tolist() == [-2, 3, 7]
    assert rows.tolist() == [1, 3, 0]
    assert [one.tolist() for one in first_rows(torch.zeros(0, dtype=torch.int64))] == [[], []]


def test_an_unknown_item_is_no_item() -> None:
    found, rows = first_rows(torch.tensor([5, MISSING_KEY, 3, 5, MISSING_KEY]))
    assert (found.tolist(), rows.tolist()) == ([3, 5], [2, 0])
