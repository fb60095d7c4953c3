"""What is written, number by number."""

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
from distill.data.prepare import prepare, writer
from distill.data.raw import RawDataset
from distill.data.split import RandomSplit, SplitRule, TimeSplit, UserTimeSplit
from distill.errors import DataError
from tests.data.prepare.builders import BY_COLUMN, by_request, pairs, prepare_quietly, rows, schema_of, write

NAN = math.nan


def _same(found: list[float], expected: list[float]) -> bool:
    return [None if math.isnan(x) else round(x, 5) for x in found] == [
        None if math.isnan(x) else round(x, 5) for x in expected
    ]


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
    assert _same(first["field_price"], [-1 / deviation, 1 / deviation])
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
            assert table.schema.equals(arrow_schema(schema, split, [RAW_REQUEST]))
            assert all(column.null_count == 0 for column in table.columns)
    assert "value_utility" not in rows(dataset, "train")[0]
    assert "value_bid" in rows(dataset, "train")[0]
    teacher = [row["teacher_click"] for row in rows(dataset, "train")]
    flat = teacher if layout == "flat" else [logit for request in teacher for logit in request]
    limit = math.log(1e-7 / (1 - 1e-7))
    assert _same(sorted(x for x in flat if not math.isnan(x)), sorted([math.log(1 / 3), -limit, limit, 0.0]))
    assert dataset.manifest.counts["missing_teacher/train/click"] == 1
    assert dataset.manifest.counts["missing_values/train/utility"] == 1
    assert dataset.manifest.counts["missing/train/hour"] == 1


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
    assert _same([row["label_click"] for row in found], [1, 0, 1, NAN, NAN])
    assert _same([row["label_buy"] for row in found], [1, NAN, 0, NAN, NAN])
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
    with pytest.raises(DataError, match=rf"set aside(.|\n)*row 0, column '{column}' \(keys.{purpose}\)"):
        prepare_quietly(write(tmp_path / "a.parquet", columns), tmp_path / "out")


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


def test_fits_on_train_only(tmp_path: Path) -> None:
    """Whatever val and test hold, the encodings are the same."""
    one = prepare_quietly(write(tmp_path / "a.parquet", pairs()), tmp_path / "one")
    changed = pairs(price=[1.0, 3.0, 1.0, 3.0, 2.0, -50.0, 9.0], item=[10, 11, 10, 12, 10, 7, 7])
    two = prepare_quietly(write(tmp_path / "b.parquet", changed), tmp_path / "two")
    assert one.manifest.encodings == two.manifest.encodings
    assert one.fingerprint != two.fingerprint


def test_same_input_same_bytes(tmp_path: Path) -> None:
    raw = write(tmp_path / "a.parquet", pairs())
    one, two = (prepare_quietly(raw, tmp_path / name) for name in ("one", "two"))
    files = sorted(p.relative_to(one.root) for p in one.root.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(two.root) for p in two.root.rglob("*") if p.is_file())
    assert all((one.root / f).read_bytes() == (two.root / f).read_bytes() for f in files)


def test_random_split_shares_and_seed(tmp_path: Path) -> None:
    columns = {"rid": list(range(1000)), "uid": [1] * 1000, "item": [1] * 1000, "price": [1.0] * 1000}
    raw = write(tmp_path / "a.parquet", {**columns, "click": [0] * 1000})
    dataset = prepare_quietly(raw, tmp_path / "out", split=RandomSplit(0.2, 0.1, seed=3))
    sizes = [dataset.manifest.counts[f"requests/{split}"] for split in SPLITS]
    assert sum(sizes) == 1000
    assert abs(sizes[1] - 200) < 60
    assert abs(sizes[2] - 100) < 45
    other = prepare_quietly(raw, tmp_path / "other", split=RandomSplit(0.2, 0.1, seed=4))
    assert other.fingerprint != dataset.fingerprint


def test_bars_name_the_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = RawDataset((write(tmp_path / "a.parquet", pairs()),), schema_of(), BY_COLUMN)
    prepare(raw, tmp_path / "out")
    shown = capsys.readouterr().err
    assert all(name in shown for name in ("spread rows", "group rows", "fit encodings", "write splits", "rows/s"))


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
