"""What stands for raw labels, stages, keys and values that are missing, number by number."""

import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from distill.batch import MISSING_KEY
from distill.data.format import SPLITS
from distill.errors import DataError
from tests.data.prepare.builders import NAN, by_request, pairs, prepare_quietly, rows, same_numbers, schema_of, write


def test_labels_are_observed_by_rule(tmp_path: Path) -> None:
    columns = pairs(
        click=[1, 0, 1, None, 1, 1, 0],
        buy=[1, 1, 0, 1, 1, 0, 0],
        stage=["exposed", "exposed", "exposed", "exposed", "ranked", "exposed", "recalled"],
    )
    schema = schema_of(
        layout="flat",
        keys={"stage": "stage"},
        tasks=[{"name": "buy", "observed": "click"}, {"name": "click", "observed": "exposed"}],
    )
    dataset = prepare_quietly(write(tmp_path / "a.parquet", columns), tmp_path / "out", schema)
    found = rows(dataset, "train")
    assert same_numbers([row["label_click"] for row in found], [1, 0, 1, NAN, NAN])
    assert same_numbers([row["label_buy"] for row in found], [1, NAN, 0, NAN, NAN])
    assert [row["stage"] for row in found] == [3, 3, 3, 3, 2]
    assert dataset.manifest.counts["null_labels/train/click"] == 1
    assert dataset.manifest.counts["unobserved_labels/train/click"] == 2
    assert dataset.manifest.counts["unobserved_labels/train/buy"] == 3


@pytest.mark.parametrize(
    ("raw", "values"),
    [
        ([0, 1, 2, 3, 3, 3, 3], None),
        (["0", "1", "2", "3", "exposed", "3", "3"], None),
        ([10, 20, 30, 40, 40, 40, 40], {"10": "recalled", "20": "preranked", "30": "ranked", "40": "exposed"}),
    ],
)
def test_stages(tmp_path: Path, raw: list[object], values: dict[str, str] | None) -> None:
    stage = {"column": "stage", **({"values": values} if values else {})}
    schema = schema_of(layout="flat", keys={"stage": stage})
    dataset = prepare_quietly(write(tmp_path / "a.parquet", pairs(stage=raw)), tmp_path / "out", schema)
    assert [row["stage"] for row in rows(dataset, "train")] == [0, 1, 2, 3, 3]


def test_null_stages_mean_what_the_schema_says(tmp_path: Path) -> None:
    stage = {"column": "stage", "values": {1: "exposed", 0: "ranked"}, "missing": "recalled"}
    schema = schema_of(layout="flat", keys={"stage": stage})
    raw = write(tmp_path / "a.parquet", pairs(stage=[1, None, 0, 1, None, 1, 1]))
    assert [row["stage"] for row in rows(prepare_quietly(raw, tmp_path / "out", schema), "train")] == [3, 0, 2, 3, 0]


@pytest.mark.parametrize("kind", ["probability", "position"])
def test_a_nan_that_is_missing_is_null(tmp_path: Path, kind: str) -> None:
    """As labels and a teacher's scores are written that are not known."""
    scores, teacher = [1.0, NAN, 1.0, 1.0, NAN, 1.0, 1.0], {"columns": {"click": "s"}, "kind": kind, "nan": "missing"}
    schema = schema_of(tasks=[{"name": "click", "nan": "missing"}], teacher=teacher)
    columns = pairs(click=[NAN, 1.0, 0.0, NAN, 0.0, 1.0, 0.0])
    found, expected = (
        prepare_quietly(
            write(tmp_path / f"{name}.parquet", {**columns, "click": click, "s": score}), tmp_path / name, schema
        )
        for name, click, score in (
            ("nan", columns["click"], scores),
            ("null", *([None if math.isnan(x) else x for x in values] for values in (columns["click"], scores))),
        )
    )
    assert found.fingerprint == expected.fingerprint
    assert found.manifest.counts == expected.manifest.counts


def test_boolean_stage(tmp_path: Path) -> None:
    stage = {"column": "stage", "values": {"true": "exposed", "false": "ranked"}}
    schema = schema_of(layout="flat", keys={"stage": stage})
    raw = [True, False, True, True, True, True, True]
    dataset = prepare_quietly(write(tmp_path / "a.parquet", pairs(stage=raw)), tmp_path / "out", schema)
    assert [row["stage"] for row in rows(dataset, "train")] == [3, 2, 3, 3, 3]


def test_shared_vocabulary_is_fitted_on_all_its_fields(tmp_path: Path) -> None:
    past = [[12, 12, 12, 5], [12, 12, 12, 5], [11, 11], [11, 11], [11, 11], [77], [77]]
    fields = [
        {"name": "past", "side": "request", "kind": "sequence", "table": "items", "max_length": 2},
        {"name": "item", "side": "candidate", "kind": "id", "table": "items"},
    ]
    dataset = prepare_quietly(
        write(tmp_path / "a.parquet", pairs(past=past)), tmp_path / "out", schema_of(fields=fields)
    )
    vocabulary = pq.read_table(dataset.root / "encodings" / "items.parquet").to_pylist()
    # Only the last two of a history count, and a history counts once per request.
    assert vocabulary == [
        {"value": 10, "count": 3},
        {"value": 11, "count": 3},
        {"value": 12, "count": 2},
        {"value": 5, "count": 1},
    ]
    assert by_request(dataset, "train", 7)["field_past"] == [4, 5]
    assert by_request(dataset, "test", 7)["field_past"] == [1]
    assert {f.size for f in dataset.schema.fields} == {6}


def test_missing_values(tmp_path: Path) -> None:
    fields = [
        {"name": "item", "side": "candidate", "kind": "id"},
        {"name": "price", "side": "candidate", "kind": "number", "nan": "missing"},
        {"name": "raw", "column": "price", "side": "cross", "kind": "number", "encoding": "identity", "nan": "missing"},
    ]
    columns = pairs(item=[2**60 + 1, None, 2**60 + 1, 5, 5, 5, 5], price=[1.0, None, NAN, 3.0, 2.0, 2.0, 2.0])
    dataset = prepare_quietly(
        write(tmp_path / "a.parquet", columns), tmp_path / "out", schema_of(layout="flat", fields=fields)
    )
    found = rows(dataset, "train")
    assert [row["field_item"] for row in found] == [3, 0, 3, 2, 2]
    assert [row["key_item"] for row in found] == [2**60 + 1, MISSING_KEY, 2**60 + 1, 5, 5]
    assert [row["field_price"] for row in found[1:3]] == [0.0, 0.0]
    assert [row["field_raw"] for row in found] == [1.0, 0.0, 0.0, 3.0, 2.0]
    counts = dataset.manifest.counts
    assert counts["missing/train/item"] == 1
    assert counts["missing/train/price"] == 2
    assert counts["missing/train/keys.item"] == 1


@pytest.mark.parametrize("kind", ["int", "string"])
def test_a_missing_key_is_no_key_that_there_is(tmp_path: Path, kind: str) -> None:
    text = kind == "string"
    columns = pairs(
        rid=[8, 8, 7, 7, 7, 9, 10],
        uid=[None, None, *(["8", "8", "8", "9", ""] if text else [8, 8, 8, 9, 7])],
        item=[None, *(["", "10", "12", "10", "11", "0"] if text else [0, 10, 12, 10, 11, 0])],
    )
    dataset = prepare_quietly(write(tmp_path / "a.parquet", columns), tmp_path / "out")
    (first,) = (row for row in rows(dataset, "train") if row["key_request"] == 8)
    assert first["key_user"] == first["key_item"][0] == MISSING_KEY
    others = [row for split in SPLITS for row in rows(dataset, split) if row["key_request"] != 8]
    assert MISSING_KEY not in {first["key_item"][1], *(row["key_user"] for row in others)}
    assert MISSING_KEY not in {item for row in others for item in row["key_item"]}
    counts = dataset.manifest.counts
    assert (counts["missing/train/keys.user"], counts["missing/train/keys.item"]) == (1, 1)


@pytest.mark.parametrize(("column", "purpose"), [("rid", "request"), ("uid", "user"), ("item", "item")])
def test_the_number_of_missing_keys_is_no_id(tmp_path: Path, column: str, purpose: str) -> None:
    columns = {**pairs(rid=[1, 1, 2, 2, 2, 3, 4])}
    columns[column] = [-(2**63), *columns[column][1:]]
    with pytest.raises(DataError, match=rf"reserved(.|\n)*row 0, column '{column}' \(keys.{purpose}\)"):
        prepare_quietly(write(tmp_path / "a.parquet", columns), tmp_path / "out")
