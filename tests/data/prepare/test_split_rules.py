"""Splits by dates, by files and by folds; columns of folders as keys, fields and splits."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.data.format import SPLITS, Dataset
from distill.data.prepare.file_codes import file_codes
from distill.data.split import ColumnSplit, DateSplit, FileSplit, KFoldSplit, SplitRule, TimeSplit
from distill.errors import ConfigError, DataError, SchemaError
from tests.data.prepare.builders import prepare_quietly, rows, schema_of, write

KEYS = {"request": "rid", "user": "uid", "item": "item", "time": "ts"}
DAYS = [date(2025, 3, day) for day in (1, 2, 3, 4, 5, 6)]


def _log(times: Any, copies: int = 2, **more: Any) -> dict[str, Any]:
    """One request per time, of `copies` rows each, interleaved."""
    n = len(times)
    columns = {"rid": list(range(n)), "uid": [i % 3 for i in range(n)], "item": [1] * n, "price": [1.0] * n}
    columns = {name: values * copies for name, values in {**columns, "click": [0] * n, **more}.items()}
    return {**columns, "ts": list(times) * copies}


def _splits(dataset: Dataset) -> dict[str, list[int]]:
    return {split: sorted({row["key_request"] for row in rows(dataset, split)}) for split in SPLITS}


def _prepared(tmp_path: Path, columns: dict[str, Any], split: SplitRule, layout: str = "requests") -> Dataset:
    raw = write(tmp_path / "raw.parquet", columns)
    return prepare_quietly(raw, tmp_path / "out", schema_of(layout=layout, keys=KEYS), split)


EXPECTED = {"train": [0, 1, 2], "val": [3, 4], "test": [5]}
SECONDS = [int(datetime(d.year, d.month, d.day).timestamp()) for d in DAYS]
ISO = ["2025-03-01", "2025-03-02T10:00:00Z", "2025-03-03 23:59:59", "2025-03-04", "2025-03-05", "2025-03-06T00:00:00Z"]
BY_DATE = ("2025-03-04", "2025-03-06")


@pytest.mark.parametrize("layout", ["requests", "flat"])
@pytest.mark.parametrize(
    ("times", "rule"),
    [
        (DAYS, DateSplit(*BY_DATE)),
        (DAYS, DateSplit("2025-03-03T06:00:00+01:00", "2025-03-05T22:00:00-01:00")),
        (ISO, DateSplit(*BY_DATE)),
        (pa.array(DAYS).cast(pa.timestamp("ms")).to_pylist(), DateSplit(*BY_DATE)),
        ([20250301 + i for i in range(6)], DateSplit(20250304, 20250306)),
        ([20250301 + i for i in range(6)], DateSplit(20250303.5, 20250305.5)),
        ([0.5 * i for i in range(6)], DateSplit(1.25, 2.5)),
        ([0.5 * i - 1.5 for i in range(6)], DateSplit(-0.25, 1)),
        ([(d - date(1970, 1, 1)).days * 86400 for d in DAYS], DateSplit(*BY_DATE, unit="s")),
        ([(d - date(1970, 1, 1)).days * 86400 * 10**9 for d in DAYS], DateSplit(*BY_DATE, unit="ns")),
        ([(d - date(1970, 1, 1)).days * 86400.0 * 1e3 for d in DAYS], DateSplit(*BY_DATE, unit="ms")),
    ],
)
def test_dates_of_every_kind_of_column(tmp_path: Path, times: Any, rule: DateSplit, layout: str) -> None:
    assert _splits(_prepared(tmp_path, _log(times), rule, layout)) == EXPECTED


def test_dates_of_another_column_than_the_time(tmp_path: Path) -> None:
    columns = _log(range(6), day=[*reversed(DAYS)])
    found = _splits(_prepared(tmp_path, columns, DateSplit(*BY_DATE, column="day")))
    assert found == {"train": [3, 4, 5], "val": [1, 2], "test": [0]}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("name", ["dt=2025-03-0{}", "dt=2025030{}"])
def test_dates_of_folders(tmp_path: Path, kind: str, name: str) -> None:
    for i in range(6):
        path = tmp_path / name.format(i + 1) / f"part.{kind}"
        path.parent.mkdir()
        columns = {"rid": [i], "uid": [1], "item": [1], "price": [1.0], "click": [0]}
        if kind == "csv":
            path.write_text(",".join(columns) + "\n" + ",".join(str(value[0]) for value in columns.values()))
        else:
            pq.write_table(pa.table(columns), path)
    boundaries = BY_DATE if "-" in name else (20250304, 20250306)
    rule = DateSplit(*boundaries, column="dt")
    files = tuple(sorted(tmp_path.glob(f"*/*.{kind}")))
    assert _splits(prepare_quietly(files, tmp_path / "out", schema_of(), rule)) == EXPECTED
    keys = {**KEYS, "time": "dt"}
    assert _splits(prepare_quietly(files, tmp_path / "time", schema_of(keys=keys), DateSplit(*boundaries))) == EXPECTED
    whole = prepare_quietly(files, tmp_path / "share", schema_of(keys=keys), TimeSplit(0.34, 0.17))
    assert _splits(whole) == EXPECTED


@pytest.mark.parametrize(
    ("times", "rule", "problem"),
    [
        (DAYS, DateSplit(20250304, 20250306), r"Column 'ts' holds dates(.|\n)*split\.val(.|\n)*20250304"),
        (DAYS, DateSplit(*BY_DATE, unit="s"), r"Column 'ts' holds dates(.|\n)*unit s"),
        (range(6), DateSplit(*BY_DATE), r"holds numbers, and the boundary is a date(.|\n)*split\.unit=s"),
    ],
)
def test_dates_that_do_not_fit_the_column(tmp_path: Path, times: Any, rule: DateSplit, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        _prepared(tmp_path, _log(times), rule)


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ({"val": "2025-03-05", "test": "2025-03-05"}, "val"),
        ({"val": 3, "test": 2.5}, "val"),
        ({"val": "yesterday", "test": "2025-03-05"}, "val"),
        ({"val": "2025-03-05", "test": True}, "test"),
        ({"val": 1, "test": [2]}, "test"),
        ({"val": 1, "test": float("nan")}, "test"),
        ({"val": 1, "test": 2, "unit": "s"}, "val"),
        ({"val": "2025-03-04", "test": "2025-03-05", "unit": "h"}, "unit"),
        ({"val": 1, "test": 2, "column": ""}, "column"),
    ],
)
def test_wrong_dates(arguments: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        DateSplit(**arguments)
    assert caught.value.where == f"data.adapter.split.{where}"


def test_dates_need_a_column(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw.parquet", _log(DAYS))
    with pytest.raises(SchemaError, match=r"needs times(.|\n)*split\.column"):
        prepare_quietly(raw, tmp_path / "out", schema_of(), DateSplit(*BY_DATE))
    with pytest.raises(DataError, match=r"missing(.|\n)*'tz' \(split column\)(.|\n)*click, ts"):
        prepare_quietly(raw, tmp_path / "out", schema_of(), DateSplit(*BY_DATE, column="tz"))


def test_dates_that_leave_a_split_empty(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"test split would be empty(.|\n)*begins at 2025-03-04, test at 2026-01-01"):
        _prepared(tmp_path, _log(DAYS), DateSplit("2025-03-04", "2026-01-01"))


@pytest.mark.parametrize("layout", ["requests", "flat"])
def test_a_request_has_one_date(tmp_path: Path, layout: str) -> None:
    columns = _log(range(6), day=DAYS)
    columns["day"][6] = DAYS[-1]
    with pytest.raises(DataError, match=r"row 6, column 'day'(.|\n)*row 0"):
        _prepared(tmp_path, columns, DateSplit(*BY_DATE, column="day"), layout)


@pytest.mark.parametrize(
    ("rule", "codes"),
    [
        (FileSplit(1, 2), "tttvee"),
        (FileSplit(1, "day=1"), "eetttv"),
        (FileSplit("b.csv", ["day=2/a.csv"]), "tvtvet"),
        (FileSplit(["day=1.5/a.csv"], "last"), "ttvtte"),
        (FileSplit("d*=1/*", "last/c"), "vvttte"),
    ],
)
def test_files_of_splits(rule: FileSplit, codes: str) -> None:
    """A folder that all files are in, such as the first `day=1` here, is not a folder of a pattern."""
    names = ["day=1/a.csv", "day=1/b.csv", "day=1.5/a.csv", "day=1.5/b.csv", "day=2/a.csv", "last/c/d.csv"]
    paths = [Path("/base/day=1/logs") / name for name in names]
    assert file_codes(paths, rule) == tuple("tve".index(code) for code in codes)


@pytest.mark.parametrize(
    ("rule", "problem", "where"),
    [
        (FileSplit("*.orc", 1), "No file matches this pattern", ".val"),
        (FileSplit("logs", 1), "No file matches this pattern", ".val"),
        (FileSplit("*.csv", 1), "too few files", ".test"),
        (FileSplit(1, 3), "too few files", ".test"),
        (FileSplit(2, 1), "too few files", ".val"),
        (FileSplit("a.csv", ["b.csv", "c.csv"]), "No file is left", ""),
        (FileSplit("a.csv", "[ab].csv"), "in two splits", ".val"),
    ],
)
def test_files_that_do_not_fit(rule: FileSplit, problem: str, where: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        file_codes([Path(f"logs/{name}.csv") for name in "abc"], rule)
    assert caught.value.where == f"data.adapter.split{where}"


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "", [], [""], [1]], ids=repr)
@pytest.mark.parametrize("name", ["val", "test"])
def test_wrong_files(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        FileSplit(**{"val": 1, "test": 1, name: value})
    assert caught.value.where == f"data.adapter.split.{name}"


def test_numbers_in_names_are_ordered_by_their_value() -> None:
    paths = [Path(f"logs/{name}.csv") for name in ("part-10", "part-9", "part-009b", "a2024")]
    assert file_codes(paths, FileSplit(1, 1)) == (2, 0, 1, 0)


def test_splits_by_file(tmp_path: Path) -> None:
    table = pa.table(_log(range(6), copies=1))
    files = tuple(tmp_path / f"{i}.parquet" for i in range(3))
    for i, path in enumerate(files):
        pq.write_table(table.slice(2 * i, 2), path)
    dataset = prepare_quietly(files, tmp_path / "out", schema_of(keys=KEYS), FileSplit("1.parquet", 1))
    assert _splits(dataset) == {"train": [0, 1], "val": [2, 3], "test": [4, 5]}


@pytest.mark.parametrize("by", ["request", "user"])
@pytest.mark.parametrize("layout", ["requests", "flat", "flat rows"])
def test_folds_test_every_request_once(tmp_path: Path, layout: str, by: str) -> None:
    users = [*range(60), None, None] * 5
    columns = _log(range(310), 1 if layout == "flat rows" else 2)
    columns["uid"] = users * (1 if layout == "flat rows" else 2)
    keys = {"user": "uid", "time": "ts"} if layout == "flat rows" else KEYS
    schema, raw = schema_of(layout=layout.split()[0], keys=keys), write(tmp_path / "raw.parquet", columns)
    tested: list[int] = []
    for fold in range(4):
        rule = KFoldSplit(k=4, fold=fold, val=0.2, seed=3, by=by)  # type: ignore[arg-type]
        found = _splits(prepare_quietly(raw, tmp_path / f"{fold}", schema, rule))
        tested += found["test"]
        assert sorted(one for of in found.values() for one in of) == list(range(310))
        assert 40 < len(found["test"]) < 120
        assert 20 < len(found["val"]) < 80
        if by == "user":
            owners = [{users[one] for one in of} - {None} for of in found.values()]
            assert sum(map(len, owners)) == len(set().union(*owners))
    assert sorted(tested) == list(range(310))


def test_folds_by_user_need_users(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw.parquet", _log(range(6)))
    with pytest.raises(SchemaError, match="needs users"):
        prepare_quietly(raw, tmp_path / "out", schema_of(keys={"request": "rid"}), KFoldSplit(by="user"))


def test_folds_by_user_want_one_user_in_a_request(tmp_path: Path) -> None:
    columns = _log(range(6))
    columns["uid"][-1] = 9
    with pytest.raises(DataError, match=r"row 11, column 'uid'(.|\n)*row 5"):
        _prepared(tmp_path, columns, KFoldSplit(by="user"), "flat")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("k", 1),
        ("k", True),
        ("fold", 5),
        ("fold", -1),
        ("val", 0),
        ("val", 1),
        ("val", "x"),
        ("seed", -1),
        ("by", "item"),
    ],
)
def test_wrong_folds(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        KFoldSplit(**{name: value})
    assert caught.value.where == f"data.adapter.split.{name}"


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_columns_of_folders_are_fields_keys_and_splits(tmp_path: Path, kind: str) -> None:
    """`rid`, `country` and the split stand in the names of folders alone."""
    for name, request, country in (("train", 1, "a"), ("train", 2, "b"), ("val", 3, "a"), ("test", 4, "c")):
        path = tmp_path / f"part={name}" / f"country={country}" / f"rid={request}" / f"x.{kind}"
        path.parent.mkdir(parents=True)
        if kind == "csv":
            path.write_text("uid,item,price,click\n7,1,1.0,0\n7,2,1.0,1\n")
        else:
            pq.write_table(pa.table({"uid": [7, 7], "item": [1, 2], "price": [1.0, 1.0], "click": [0, 1]}), path)
    fields = [
        {"name": "country", "side": "request", "kind": "id"},
        {"name": "item", "side": "candidate", "kind": "id"},
    ]
    files = tuple(sorted(tmp_path.glob(f"**/*.{kind}")))
    dataset = prepare_quietly(files, tmp_path / "out", schema_of(fields=fields), ColumnSplit("part"))
    assert _splits(dataset) == {"train": [1, 2], "val": [3], "test": [4]}
    found = {row["key_request"]: row["field_country"] for name in SPLITS for row in rows(dataset, name)}
    assert found[1] == found[3] > 1
    assert found[2] not in (found[1], 1)
    assert found[4] == 1  # unknown to train


def test_a_date_that_is_a_field_too_says_what_to_declare(tmp_path: Path) -> None:
    fields = [{"name": "ts", "side": "request", "kind": "id"}, {"name": "item", "side": "candidate", "kind": "id"}]
    raw = write(tmp_path / "raw.parquet", _log(DAYS))
    with pytest.raises(DataError, match=r"raw\.columns: \{ts: text\}"):
        prepare_quietly(raw, tmp_path / "out", schema_of(keys=KEYS, fields=fields), DateSplit(*BY_DATE))
    schema = schema_of(keys=KEYS, fields=fields, raw={"columns": {"ts": "text"}})
    assert _splits(prepare_quietly(raw, tmp_path / "out", schema, DateSplit(*BY_DATE))) == EXPECTED


def test_memory_changes_no_fold(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    columns = _log(rng.integers(0, 10**9, 500).tolist())
    raw = write(tmp_path / "raw.parquet", columns, row_group_size=130)
    prints = {
        prepare_quietly(
            raw, tmp_path / str(memory), schema_of(keys=KEYS), KFoldSplit(), memory_bytes=memory
        ).fingerprint
        for memory in (1 << 30, 1 << 14)
    }
    assert len(prints) == 1
