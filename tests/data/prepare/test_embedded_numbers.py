"""Numbers that models embed: places among the quantiles of training, missing ones apart, the same on a later day."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from distill.data.dataset import load_dataset
from distill.data.prepare import KnownEncodings, prepare
from distill.data.raw import RawDataset
from distill.encodings import FittedEncodings
from distill.errors import DataError, SchemaError
from distill.schema import MISSING_NUMBER, Schema
from tests.data.prepare.builders import BY_COLUMN, pairs, prepare_quietly, rows, schema_of, write


def schema(encoding: Any = None, kind: str = "number") -> Schema:
    fields = [
        {"name": "uid", "side": "request", "kind": "id"},
        {"name": "price", "side": "candidate", "kind": kind, "encoding": encoding or PLE},
        {"name": "mix", "side": "candidate", "kind": "number", "column": "price",
         "encoding": {"type": "autodis", "buckets": 3}},
    ]  # fmt: skip
    return schema_of(fields=fields)


PLE = {"type": "piecewise_linear", "bins": 2}
PRICES = [1.0, 3.0, 1.0, 3.0, 2.0, None, 100.0]


def values(dataset: Any, split: Any, field: str) -> list[float]:
    return [value for row in rows(dataset, split) for value in row[f"field_{field}"]]


def test_boundaries_are_of_the_training_split_and_missing_numbers_stand_apart(tmp_path: Path) -> None:
    file = write(tmp_path / "raw.parquet", pairs(price=PRICES))
    dataset = prepare_quietly(file, tmp_path / "out", schema())
    assert dataset.manifest.encodings.numbers["price"].boundaries == (1.0, 2.0, 3.0)
    assert load_dataset(dataset.root).schema.field("price").size == 2
    assert sorted(values(dataset, "train", "price")) == [0.0, 0.0, 1.0, 2.0, 2.0]
    assert values(dataset, "val", "price") == values(dataset, "val", "mix") == [MISSING_NUMBER]
    assert values(dataset, "test", "price") == [99.0]  # the last bin goes on
    train = np.array([1.0, 3.0, 1.0, 3.0, 2.0])
    wanted = (100.0 - train.mean()) / train.std()
    assert values(dataset, "test", "mix") == pytest.approx([wanted])


def test_a_number_without_a_value_in_training_has_a_bin(tmp_path: Path) -> None:
    nothing = pa.array([None] * 5 + [4.0, 5.0], pa.float64())
    dataset = prepare_quietly(write(tmp_path / "raw.parquet", pairs(price=nothing)), tmp_path / "out", schema())
    assert dataset.manifest.encodings.numbers["price"].boundaries == (0.0, 1.0)
    assert values(dataset, "val", "price") == [4.0]


def test_a_later_day_has_the_boundaries_of_the_first_and_another_encoding_is_refused(tmp_path: Path) -> None:
    first = prepare_quietly(write(tmp_path / "raw.parquet", pairs(price=PRICES)), tmp_path / "first", schema())
    known = KnownEncodings(FittedEncodings.load(first.root, first.manifest.encodings), "first")
    later = write(tmp_path / "later.parquet", pairs(price=[7.0] * 7))
    again = prepare(RawDataset((later,), schema(), BY_COLUMN), tmp_path / "again", known=known, progress=False)
    assert values(again, "train", "price") == [6.0] * 5
    for other, said in (
        ({"type": "piecewise_linear", "bins": 3}, "number among 3 bins"),
        ("standardise", "number"),
        ({"type": "autodis", "buckets": 2}, "embedded number"),
        ({"type": "autodis", "buckets": 2, "log": True}, "embedded number, log"),
    ):
        with pytest.raises(DataError, match=re.escape(said)) as error:
            known.check(schema(other))
        assert "number among 2 bins" in str(error.value)
    known.check(schema())


@pytest.mark.parametrize(
    ("encoding", "kind", "says"),
    [
        (PLE, "id", "makes ids, not 'piecewise_linear'"),
        ({"type": "piecewise_linear", "bins": 1}, "number", "greater than or equal to 2"),
        ({"type": "autodis"}, "number", "'buckets' is missing"),
        ({"type": "autodis", "buckets": 4, "temperature": 0}, "number", "temperature"),
    ],
)
def test_wrong_encodings_name_their_key(encoding: Any, kind: str, says: str) -> None:
    with pytest.raises(SchemaError, match=says) as error:
        schema(encoding, kind)
    assert "fields[1] (price)" in str(error.value)
