"""Raw rows in every layout and shape become the rows of the format."""

import itertools
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.batch import MISSING_KEY
from distill.data.dataset import load_dataset
from distill.data.format import RAW_REQUEST, SPLITS, arrow_schema
from distill.data.prepare import writer
from distill.data.split import RandomSplit, SplitRule, TimeSplit, UserTimeSplit
from distill.errors import DataError
from tests.data.prepare.builders import (
    by_request,
    pairs,
    prepare_quietly,
    rows,
    same_numbers,
    schema_of,
    write,
)


def test_scattered_pairs_become_requests(tmp_path: Path) -> None:
    columns = pairs()
    order = [4, 6, 0, 3, 5, 1, 2]
    shuffled = {name: [values[i] for i in order] for name, values in columns.items()}
    files = tuple(
        write(tmp_path / f"{i}.parquet", {name: values[a:b] for name, values in shuffled.items()})
        for i, (a, b) in enumerate([(0, 3), (3, 7)])
    )
    dataset = prepare_quietly(files, tmp_path / "out")
    first = by_request(dataset, "train", 7)
    assert first["key_item"] == [10, 11]
    assert first["label_click"] == [1.0, 0.0]
    assert first["num_candidates"] == 2
    second = by_request(dataset, "train", 8)
    assert second["key_item"] == [10, 12, 10]
    # Train: items 10 ×3, 11, 12; users 8, 7 (counted once per request); prices 1 3 1 3 2.
    assert dataset.schema.field("item").size == 5
    assert first["field_item"] == [2, 3]
    assert first["field_uid"] == 2
    assert second["field_uid"] == 3
    deviation = math.sqrt(0.8)
    assert same_numbers(first["field_price"], [-1 / deviation, 1 / deviation])
    # Unknown in train: user 9 and item 99.
    assert by_request(dataset, "val", 9)["field_uid"] == 1
    assert by_request(dataset, "test", 7)["field_item"] == [1]
    counts = dataset.manifest.counts
    assert counts["rows_read"] == 7
    assert counts["dropped"] == 0
    assert [counts[f"requests/{s}"] for s in SPLITS] == [2, 1, 1]
    assert [counts[f"candidates/{s}"] for s in SPLITS] == [5, 1, 1]
    assert counts["oov/test/item"] == 1
    assert counts["oov/val/uid"] == 1
    assert dataset.manifest.ranges == {"price": (1.0, 3.0)}


def _raw_requests() -> dict[str, Any]:
    return {
        "rid": ["r1", "r2", "r3", "r4"],
        "uid": [7, 8, 9, 7],
        "item": [[10, 11], [10, 12, 10], [11], [99]],
        "price": [[1.0, 3.0], [1.0, 3.0, 2.0], [2.0], [100.0]],
        "click": [[1, 0], [0, 1, 0], [1], [0]],
        "part": ["train", "train", "val", "test"],
    }


def test_raw_requests_equal_pairs(tmp_path: Path) -> None:
    nested = prepare_quietly(write(tmp_path / "a.parquet", _raw_requests()), tmp_path / "nested")
    flat = prepare_quietly(write(tmp_path / "b.parquet", pairs()), tmp_path / "pairs")
    for split in SPLITS:
        key = lambda row: row["key_user"]  # noqa: E731
        assert sorted(rows(nested, split), key=key) == sorted(rows(flat, split), key=key)


def test_raw_requests_keep_their_order_and_need_no_id(tmp_path: Path) -> None:
    schema = schema_of(keys={"user": "uid", "item": "item"})
    dataset = prepare_quietly(write(tmp_path / "a.parquet", _raw_requests()), tmp_path / "out", schema)
    assert [row["key_request"] for row in rows(dataset, "train")] == [0, 1]
    assert [row["key_request"] for row in rows(dataset, "test")] == [3]


def test_requests_without_candidates_are_kept(tmp_path: Path) -> None:
    columns = _raw_requests()
    columns.update(item=[[], [10], [11], [99]], price=[[], [1.0], [1.0], [1.0]], click=[None, [0], [1], [0]])
    dataset = prepare_quietly(write(tmp_path / "a.parquet", columns), tmp_path / "out")
    assert by_request(dataset, "train", 7)["key_item"] == []
    assert dataset.manifest.counts["requests_without_candidates/train/all"] == 1


def test_flat(tmp_path: Path) -> None:
    schema = schema_of(layout="flat", keys={"user": "uid", "request": "rid"})
    dataset = prepare_quietly(write(tmp_path / "a.parquet", pairs()), tmp_path / "out", schema)
    found = rows(dataset, "train")
    assert [row["key_user"] for row in found] == [7, 7, 8, 8, 8]
    assert len({row["key_request"] for row in found}) == 2
    assert [row["key_item"] for row in found] == [MISSING_KEY] * 5
    assert [row["field_item"] for row in found] == [2, 3, 2, 4, 2]
    assert [row["stage"] for row in found] == [3] * 5
    assert "num_candidates" not in found[0]
    # In flat data users are counted per row: 8 ×3, 7 ×2.
    assert [row["field_uid"] for row in found] == [3, 3, 2, 2, 2]


def test_flat_rows_without_ids_are_their_own_requests(tmp_path: Path) -> None:
    schema = schema_of(layout="flat", keys={})
    files = tuple(write(tmp_path / f"{i}.parquet", pairs()) for i in range(2))
    dataset = prepare_quietly(files, tmp_path / "out", schema)
    found = rows(dataset, "train")
    assert [row["key_request"] for row in found] == [0, 1, 2, 3, 4, 7, 8, 9, 10, 11]
    assert [row["key_user"] for row in found] == [row["key_request"] for row in found]


@pytest.mark.parametrize("layout", ["requests", "flat"])
def test_files_have_exactly_the_columns_of_the_format(tmp_path: Path, layout: str) -> None:
    columns = pairs(
        bid=[1.0] * 7,
        utility=[0.5, None, 1, 1, 1, 1, None],
        scored=[0.25, None, 1.0, 0.0, 0.5, 0.5, 0.5],
        past=[[1, 2]] * 2 + [[]] * 3 + [[3], None],
        vector=[[1.0, 2.0]] * 7,
        hour=pa.array(["a", "b", "a", "b", None, "a", "b"]).dictionary_encode(),
    )
    schema = schema_of(
        layout=layout,
        fields=[
            *schema_of().model_dump(mode="json", exclude_none=True)["fields"],
            {"name": "past", "side": "request", "kind": "sequence", "table": "item"},
            {"name": "vector", "side": "cross", "kind": "vector", "width": 2},
            {"name": "hour", "side": "cross", "kind": "id"},
        ],
        score={"tasks": {"click": 1.0}, "columns": {"bid": 1.0}},
        evaluation=["utility"],
        teacher={"columns": {"click": "scored"}, "kind": "probability"},
    )
    dataset = prepare_quietly(write(tmp_path / "a.parquet", columns), tmp_path / "out", schema)
    for split in SPLITS:
        for part in dataset.parts(split):
            table = pq.read_table(dataset.root / part.path)
            assert table.schema.equals(arrow_schema(schema, split, {RAW_REQUEST: pa.string()}))
            assert all(column.null_count == 0 for column in table.columns)
    assert "value_utility" not in rows(dataset, "train")[0]
    assert "value_bid" in rows(dataset, "train")[0]
    teacher = [row["teacher_click"] for row in rows(dataset, "train")]
    flat = teacher if layout == "flat" else [logit for request in teacher for logit in request]
    limit = math.log(1e-7 / (1 - 1e-7))
    assert same_numbers(sorted(x for x in flat if not math.isnan(x)), sorted([math.log(1 / 3), -limit, limit, 0.0]))
    assert dataset.manifest.counts["missing_teacher/train/click"] == 1
    assert dataset.manifest.counts["missing_values/train/utility"] == 1
    assert dataset.manifest.counts["missing/train/hour"] == 1


def test_csv_equals_parquet(tmp_path: Path) -> None:
    columns = pairs(uid=[7, 7, 8, 8, 8, 9, 2**60 + 1])
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "a.tsv").write_text("\n".join(lines).replace(",", "\t") + "\n")
    parquet = prepare_quietly(write(tmp_path / "a.parquet", columns), tmp_path / "p")
    for name in ("a.csv", "a.tsv"):
        assert prepare_quietly(tmp_path / name, tmp_path / f"out-{name}").fingerprint == parquet.fingerprint


def test_csv_integers_with_empty_cells_stay_integers(tmp_path: Path) -> None:
    columns = pairs(item=[2**60 + 1, "", 2**60 + 1, 5, 5, 5, 5])
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    dataset = prepare_quietly(tmp_path / "a.csv", tmp_path / "out", schema_of(layout="flat"))
    assert [row["key_item"] for row in rows(dataset, "train")] == [2**60 + 1, MISSING_KEY, 2**60 + 1, 5, 5]


def test_items(tmp_path: Path) -> None:
    raw = write(tmp_path / "a.parquet", pairs())
    items = write(tmp_path / "i.parquet", {"item": [11, 10, 500], "price": [2.0, None, 2.0], "name": ["a", "b", "c"]})
    dataset = prepare_quietly(raw, tmp_path / "out", items=items)
    (part,) = dataset.manifest.items
    found = pq.read_table(dataset.root / part.path).to_pylist()
    assert [row["key_item"] for row in found] == [11, 10, 500]
    assert [row["field_item"] for row in found] == [3, 2, 1]
    assert [row["field_price"] for row in found] == [0.0, 0.0, 0.0]
    assert dataset.manifest.counts["oov/items/item"] == 1
    assert load_dataset(dataset.root).manifest == dataset.manifest


def test_row_groups_and_parts_do_not_cut_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "ROW_GROUP_CANDIDATES", 4)
    monkeypatch.setattr(writer, "PART_CANDIDATES", 10)
    sizes = [3, 0, 2, 9, 1, 1, 1, 1, 4, 1]
    columns = {
        "rid": list(range(12)),
        "uid": [1] * 12,
        "item": [[0] * n for n in (*sizes, 1, 1)],
        "price": [[1.0] * n for n in (*sizes, 1, 1)],
        "click": [[0] * n for n in (*sizes, 1, 1)],
        "part": ["train"] * 10 + ["val", "test"],
    }
    dataset = prepare_quietly(write(tmp_path / "a.parquet", columns), tmp_path / "out")
    groups = []
    for part in dataset.parts("train"):
        file = pq.ParquetFile(dataset.root / part.path)
        tables = [file.read_row_group(g, columns=["num_candidates"]) for g in range(file.num_row_groups)]
        groups.append([table["num_candidates"].to_pylist() for table in tables])
        assert part.candidates == sum(map(sum, groups[-1]))
        assert part.rows == sum(map(len, groups[-1]))
    assert groups == [[[3, 0, 2], [9]], [[1, 1, 1, 1], [4], [1]]]


def test_candidate_sequences_and_vectors(tmp_path: Path) -> None:
    tags = [[1, 2, 3], None, [], [2, None], [3], [4], [1]]
    vectors = [[float(i), -float(i)] for i in range(7)]
    fields = [
        {"name": "tags", "side": "candidate", "kind": "sequence", "max_length": 2},
        {"name": "vector", "side": "cross", "kind": "vector", "width": 2},
    ]
    nested = _raw_requests()
    ends = [0, 2, 5, 6, 7]
    nested["tags"] = [tags[a:b] for a, b in itertools.pairwise(ends)]
    nested["vector"] = pa.array(
        [vectors[a:b] for a, b in itertools.pairwise(ends)], pa.list_(pa.list_(pa.float32(), 2))
    )
    datasets = [
        prepare_quietly(write(tmp_path / "a.parquet", nested), tmp_path / "nested", schema_of(fields=fields)),
        prepare_quietly(
            write(tmp_path / "b.parquet", pairs(tags=tags, vector=vectors)),
            tmp_path / "pairs",
            schema_of(fields=fields),
        ),
    ]
    for dataset in datasets:
        # Train holds 2 twice (of [2, 3] and [2, None]), 3 twice; 1 is cut off and 4 is of val.
        assert by_request(dataset, "train", 7)["field_tags"] == [[2, 3], []]
        assert by_request(dataset, "train", 8)["field_tags"] == [[], [2], [3]]
        assert by_request(dataset, "val", 9)["field_tags"] == [[1]]
        assert by_request(dataset, "train", 8)["field_vector"] == vectors[2:5]
        assert dataset.manifest.counts["missing/train/tags"] == 2
        assert dataset.manifest.counts["oov/val/tags"] == 1


@pytest.mark.parametrize("rule", [RandomSplit(), TimeSplit(), UserTimeSplit()])
def test_no_rows(tmp_path: Path, rule: SplitRule) -> None:
    schema = schema_of(keys={"request": "rid", "user": "uid", "time": "ts"})
    columns = {name: pa.array(values).slice(0, 0) for name, values in pairs(ts=[1] * 7).items()}
    with pytest.raises(DataError, match="would be empty"):
        prepare_quietly(write(tmp_path / "a.parquet", columns), tmp_path / "out", schema, rule)
