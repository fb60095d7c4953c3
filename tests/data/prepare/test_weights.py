"""The row weight that a schema declares: checked, stored only if declared, and read into `Batch.weight`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from distill.batch import Batch
from distill.data.format import SPLITS, Dataset, Split
from distill.data.stream import BatchLoader, SplitReader, StreamOrder, iterate_part, plan_epoch
from distill.data.stream.resident import PlacedBatch, ResidentReader
from distill.errors import DataError, SchemaError
from distill.schema import dump_schema, parse_schema

from .builders import pairs, prepare_quietly, rows, schema_of, write

WEIGHTS = [2.0, 0.0, 1.0, 0.5, 3.0, 4.0, 1.5]
OF_TRAIN = {10: [1.0, 2.0, 3.0], 11: [0.0], 12: [0.5]}


def prepared(tmp_path: Path, given: list[Any] = WEIGHTS, **schema: Any) -> Dataset:
    file = write(tmp_path / "raw.parquet", pairs(importance=given))
    return prepare_quietly(file, tmp_path / "out", schema_of(**{"weight": "importance", **schema}))


def batches(dataset: Dataset, split: Split, shards: int = 1) -> list[Batch]:
    reader = SplitReader.open(dataset, dataset.schema, split)
    plan = plan_epoch(reader.index, StreamOrder(2, 8, shards, 0, False), 0)
    return list(BatchLoader(reader, plan, ahead=False))


def weights(dataset: Dataset, split: Split) -> dict[int, list[float]]:
    """Item to the weights of its rows, lightest first: requests come in another order than they were written in."""
    found: dict[int, list[float]] = {}
    for batch in batches(dataset, split):
        for item, weight in zip(batch.item_id.tolist(), batch.weight.tolist(), strict=True):
            found[item] = sorted([*found.get(item, []), weight])
    return found


def test_a_name_alone_is_the_column() -> None:
    short, full = schema_of(weight="importance"), schema_of(weight={"column": "importance"})
    assert short == full
    assert parse_schema(short.model_dump(mode="json"), "test") == short
    assert "\nweight" not in dump_schema(schema_of())


def test_an_unknown_key_of_the_weight_is_refused() -> None:
    with pytest.raises(SchemaError, match=r"(?s)Unknown key 'colunm'.*Did you mean 'column'"):
        schema_of(weight={"colunm": "importance"})


def test_each_row_of_a_batch_has_its_weight_and_no_column_of_it(tmp_path: Path) -> None:
    dataset = prepared(tmp_path)
    found = {"train": OF_TRAIN, "val": {11: [4.0]}, "test": {99: [1.5]}}
    for split, wanted in found.items():
        assert weights(dataset, split) == wanted  # type: ignore[arg-type]
        assert all(batch.columns == {} for batch in batches(dataset, split))  # type: ignore[arg-type]


def test_padding_weighs_nothing(tmp_path: Path) -> None:
    last = batches(prepared(tmp_path), "val", shards=2)[-1]
    assert last.weight.tolist() == [4.0, 0.0]
    assert last.row.tolist() == [0, -1]


@pytest.mark.parametrize("on_device", [False, True])
def test_rows_that_stay_in_memory_have_the_same_weights(tmp_path: Path, on_device: bool) -> None:
    dataset = prepared(tmp_path)
    reader = SplitReader.open(dataset, dataset.schema, "train")
    plan = plan_epoch(reader.index, StreamOrder(8, 8, 1, 0, False), 0)
    (made,) = BatchLoader(ResidentReader.of(reader, on_device), plan, ahead=False)
    batch = made.on(torch.device("cpu")) if isinstance(made, PlacedBatch) else made
    assert torch.equal(batch.weight, torch.cat([one.weight for one in batches(dataset, "train")]))
    assert sorted(batch.weight.tolist()) == [0.0, 0.5, 1.0, 2.0, 3.0]


def test_flat_rows_and_raw_requests_have_weights(tmp_path: Path) -> None:
    flat = prepared(tmp_path, layout="flat", keys={"item": "item"})
    assert weights(flat, "train") == OF_TRAIN
    columns = {
        "rid": ["a", "b", "c"],
        "uid": [7, 8, 9],
        "item": [[10, 11], [12], [10]],
        "price": [[1.0, 2.0], [3.0], [1.0]],
        "click": [[0, 1], [1], [0]],
        "importance": [[0.25, 2.0], [8.0], [0.0]],
        "part": ["train", "val", "test"],
    }
    lists = prepare_quietly(
        write(tmp_path / "lists.parquet", columns), tmp_path / "lists", schema_of(weight="importance")
    )
    assert [rows(lists, split)[0]["value_importance"] for split in SPLITS] == columns["importance"]


def test_a_column_of_the_score_may_be_the_weight_too(tmp_path: Path) -> None:
    positive = [2.0, 1.0, 1.0, 0.5, 3.0, 4.0, 1.5]
    score = {"tasks": {"click": 1.0}, "columns": {"importance": 1.0}}
    (batch,) = batches(prepared(tmp_path, positive, score=score), "val")
    assert batch.weight.tolist() == batch.columns["importance"].tolist() == [4.0]


def test_a_column_of_evaluation_may_be_the_weight_too(tmp_path: Path) -> None:
    dataset = prepared(tmp_path, evaluation=["importance"])
    (val,) = batches(dataset, "val")
    assert val.weight.tolist() == val.columns["importance"].tolist() == [4.0]
    assert all(batch.columns == {} for batch in batches(dataset, "train"))


def test_without_a_weight_nothing_of_it_is_stored(tmp_path: Path) -> None:
    file = write(tmp_path / "raw.parquet", pairs(importance=WEIGHTS))
    plain = prepare_quietly(file, tmp_path / "plain")
    assert "value_importance" not in rows(plain, "train")[0]
    assert not any("importance" in name for name in plain.manifest.counts)
    assert all((batch.weight == 1).all() for batch in batches(plain, "train"))


def test_the_first_of_a_repeated_item_keeps_its_weight(tmp_path: Path) -> None:
    columns = pairs(importance=WEIGHTS, item=[10, 10, 10, 12, 10, 11, 99])
    file = write(tmp_path / "raw.parquet", columns)
    dataset = prepare_quietly(file, tmp_path / "out", schema_of(weight="importance", duplicates="merge"))
    assert weights(dataset, "train") == {10: [1.0, 2.0], 12: [0.5]}


@pytest.mark.parametrize(
    ("bad", "found"),
    [(-0.5, "-0.5"), (None, "null or NaN"), (float("nan"), "null or NaN"), (float("inf"), "inf")],
)
def test_what_is_no_weight_is_refused_with_its_place(tmp_path: Path, bad: float | None, found: str) -> None:
    with pytest.raises(DataError) as error:
        prepared(tmp_path, [1.0, 1.0, bad, 1.0, 1.0, 1.0, 1.0])
    text = str(error.value)
    assert "weight of a row" in text
    assert "raw.parquet, row group 0, row 2, column 'importance' (row weight)" in text
    assert found in text
    assert "remove `weight` from the schema" in text


def test_a_missing_column_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "raw.parquet", pairs())
    with pytest.raises(DataError, match="importance"):
        prepare_quietly(file, tmp_path / "out", schema_of(weight="importance"))


def test_a_part_of_a_view_without_the_fields_reads_weights(tmp_path: Path) -> None:
    dataset = prepared(tmp_path)
    view = dataset.schema.model_copy(update={"fields": ()})
    (batch,) = iterate_part(dataset, "val", 0, view, 16)
    assert batch.weight.tolist() == [4.0]
