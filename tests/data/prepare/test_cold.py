"""Values that training does not have, or has too seldom, are encoded as their group."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from distill.data.dataset import load_dataset
from distill.data.format import Dataset, Split
from distill.data.prepare import KnownEncodings, prepare
from distill.data.prepare.membership import PairCounter
from distill.data.raw import RawDataset
from distill.encodings import FittedEncodings
from distill.encodings.groups import FittedGroups
from distill.encodings.tables import FittedVocabulary
from distill.schema import Schema
from tests.data.prepare.builders import BY_COLUMN, prepare_quietly, rows, schema_of, write


def schema(min_count: int = 2) -> Schema:
    item = {
        "name": "item", "side": "candidate", "kind": "id", "cold": ["shop"],
        "encoding": {"type": "vocabulary", "min_count": min_count},
    }  # fmt: skip
    shop = {"name": "shop", "side": "candidate", "kind": "id"}
    return schema_of(fields=[{"name": "uid", "side": "request", "kind": "id"}, item, shop])


def columns(**changes: object) -> dict[str, object]:
    """Items 10 and 11 are known (ids 2 and 3), 12 is there once; 10 was in shop b once and in a twice."""
    found = {
        "rid": ["r1"] * 3 + ["r2"] * 3 + ["r3"] * 3 + ["r4"],
        "uid": [7] * 10,
        "item": [10, 11, 12, 10, 11, 10, 12, 77, 78, 77],
        "shop": ["a", "b", "b", "a", "b", "b", "b", "a", "z", "b"],
        "click": [1, 0, 0, 1, 0, 0, 1, 0, 0, 1],
        "part": ["train"] * 6 + ["val"] * 3 + ["test"],
    }
    return {**found, **changes}


def ids(dataset: Dataset, split: Split) -> list[int]:
    return [i for row in rows(dataset, split) for i in row["field_item"]]


def vocabulary(dataset: Dataset) -> FittedVocabulary:
    found = FittedEncodings.load(dataset.root, dataset.manifest.encodings).tables["item"]
    assert isinstance(found, FittedVocabulary)
    return found


def groups(dataset: Dataset) -> FittedGroups:
    found = vocabulary(dataset).groups
    assert found is not None
    return found


def test_rare_and_new_values_are_those_of_their_group(tmp_path: Path) -> None:
    items = write(tmp_path / "items.parquet", {"item": [10, 99], "shop": ["b", "a"]})
    dataset = prepare_quietly(write(tmp_path / "raw.parquet", columns()), tmp_path / "out", schema(), items=items)
    assert dataset.schema.field("item").size == 6
    assert groups(dataset).of_value.tolist() == [[3], [2]]  # shops by frequency: b 2, a 3
    assert sorted(ids(dataset, "train")) == [2, 2, 2, 3, 3, 4]  # item 12, of shop b, is rare
    assert ids(dataset, "val") == [4, 5, 1]  # 78 is of a shop that nobody knows
    assert ids(dataset, "test") == [4]
    counts = dataset.manifest.counts
    assert (counts["oov/val/item"], counts["grouped/val/item"], counts["grouped/items/item"]) == (3, 2, 1)
    assert load_dataset(dataset.root).fingerprint == dataset.fingerprint


def test_old_ids_stay_where_they_were_and_groups_lie_behind_all_values(tmp_path: Path) -> None:
    first = prepare_quietly(write(tmp_path / "raw.parquet", columns()), tmp_path / "first", schema())
    # Two new items, one of a new shop c; item 10 moved to shop b.
    later = columns(
        item=[70, 71, 10, 70, 71, 10, 88, 89, 90, 12], shop=["a", "c", "b", "a", "c", "b", "c", "a", "b", "a"]
    )
    known = KnownEncodings(FittedEncodings.load(first.root, first.manifest.encodings), "first", grow=True)
    raw = RawDataset((write(tmp_path / "later.parquet", later),), schema(), BY_COLUMN)
    grown = prepare(raw, tmp_path / "grown", known=known, progress=False)
    assert vocabulary(grown).values.to_pylist() == [10, 11, 70, 71]
    assert groups(grown).of_value.tolist() == [[2], [2], [3], [4]]  # shop c is 4 now
    assert ids(grown, "val") == [8, 7, 6]
    as_it_was = prepare(raw, tmp_path / "same", known=KnownEncodings(known.fitted, "first"), progress=False)
    assert vocabulary(as_it_was).values.to_pylist() == [10, 11]
    assert ids(as_it_was, "val") == [1, 5, 4]


def test_a_schema_without_the_groups_does_not_take_such_encodings(tmp_path: Path) -> None:
    import pytest

    from distill.errors import DataError

    first = prepare_quietly(write(tmp_path / "raw.parquet", columns()), tmp_path / "first", schema())
    known = KnownEncodings(FittedEncodings.load(first.root, first.manifest.encodings), "first")
    bare = schema()
    fields = tuple(f.model_copy(update={"cold": None}) for f in bare.fields)
    with pytest.raises(DataError, match="in another way") as error:
        known.check(bare.model_copy(update={"fields": fields}))
    assert "vocabulary, cold by shop from 1 ids" in str(error.value)
    known.check(bare)


def test_values_are_counted_with_what_they_come_with_in_any_order_of_chunks() -> None:
    value = pa.array(["i", "j", "i", None, "i", "j", "k"])
    by = pa.array([5, None, 4, 1, 4, None, 2])
    whole, parts = PairCounter(["string", "int"]), PairCounter(["string", "int"])
    keep = np.array([True] * 6 + [False])
    whole.add([value, by], keep)
    for i in (6, 3, 1, 5, 0, 4, 2):
        parts.add([value.slice(i, 1), by.slice(i, 1)], keep[i : i + 1])
    assert whole.result().to_pydict() == {"value": ["i", "j"], "by_0": [4, None]}
    assert parts.result().equals(whole.result())
    assert PairCounter(["int", "string"]).result().num_rows == 0
    nothing = PairCounter(["string", "string"])
    nothing.add([pa.array(["i"]), pa.nulls(1, pa.int64())], np.array([True]))
    assert nothing.result().to_pydict() == {"value": ["i"], "by_0": [None]}
