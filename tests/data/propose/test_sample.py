"""A bounded sample of files of any kind."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.feather as feather
import pyarrow.orc as orc
import pyarrow.parquet as pq
import pytest

from distill.data.propose.sample import read_sample, spread
from distill.errors import DataError


def write(path: Path, table: pa.Table) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = path.name.split(".")[1]
    writers = {"parquet": pq.write_table, "feather": feather.write_feather, "orc": orc.write_table}
    if kind == "csv":
        pa_csv.write_csv(table, path)
    else:
        writers[kind](table, path)
    return path


def rows(start: int, stop: int) -> pa.Table:
    return pa.table({"n": range(start, stop), "text": [f"v{i}" for i in range(start, stop)]})


@pytest.mark.parametrize("kind", ["parquet", "feather", "orc", "csv"])
def test_the_first_rows_of_every_kind(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / f"a.{kind}", rows(0, 1000))
    sample = read_sample([path], 10)
    assert (sample.rows, sample.files, sample.of_files) == (10, 1, 1)
    assert sample.columns["n"].to_pylist() == list(range(10))
    assert sample.columns["text"].to_pylist() == [f"v{i}" for i in range(10)]


def test_files_are_spread_over_the_list_and_share_the_rows(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{i:02d}.parquet", rows(100 * i, 100 * i + 20)) for i in range(20)]
    sample = read_sample(paths, 16)
    assert (sample.rows, sample.files, sample.of_files) == (16, 8, 20)
    assert sample.columns["n"].to_pylist()[::2] == [0, 300, 500, 800, 1100, 1400, 1600, 1900]
    assert spread(20, 8) == [0, 3, 5, 8, 11, 14, 16, 19]
    assert spread(1, 8) == [0]


def test_rows_that_a_short_file_lacks_come_from_later_ones(tmp_path: Path) -> None:
    paths = [write(tmp_path / "a.parquet", rows(0, 1)), write(tmp_path / "b.parquet", rows(10, 30))]
    assert read_sample(paths, 10).columns["n"].to_pylist() == [0, *range(10, 19)]


def test_the_bytes_of_a_sample_are_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.parquet", rows(0, 1000))
    assert read_sample([path], 1000).rows == 1000
    monkeypatch.setattr("distill.data.propose.sample._SAMPLE_BYTES", 1)
    assert read_sample([path], 1000).rows == 64  # the smallest batch


def test_rows_behind_the_sample_say_nothing_of_types(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("n,when\n" + "".join(f"{i},2025-03-01\n" for i in range(10)) + "x,y\n")
    types = [[str(a.type) for a in read_sample([path], rows).columns.values()] for rows in (10, 11)]
    assert types == [["int64", "date32[day]"], ["string", "string"]]


def test_columns_of_folders_are_columns(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"day={day}" / "a.csv", rows(0, 2)) for day in (3, 4)]
    assert read_sample(paths, 4).columns["day"].to_pylist() == [3, 3, 4, 4]


def test_columns_that_files_do_not_share_are_unusable(tmp_path: Path) -> None:
    first = write(tmp_path / "a.parquet", pa.table({"n": [1], "only": [1], "mixed": [[1]], "x": [1], "t": [1]}))
    other = write(tmp_path / "b.parquet", pa.table({"n": [2], "mixed": [1], "x": [0.5], "t": ["a"]}))
    sample = read_sample([first, other], 10)
    assert sample.unusable == {"only": "not in every file", "mixed": "of several types: int, list of int"}
    assert sample.columns["x"].to_pylist() == [1.0, 0.5]
    assert sample.columns["t"].to_pylist() == ["1", "a"]


def test_a_column_that_is_there_twice_is_unusable(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("n,n,x\n1,2,3\n")
    sample = read_sample([path], 10)
    assert list(sample.columns) == ["x"]
    assert sample.unusable == {"n": "there twice in a file: rename one"}


def test_files_without_rows_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("n,x\n")
    with pytest.raises(DataError, match="no rows"):
        read_sample([path], 10)


@pytest.mark.parametrize("first", [True, False])
def test_a_column_whose_values_cannot_be_taken_leaves_the_others(tmp_path: Path, first: bool) -> None:
    odd = {"blob": [b"\xff\xfe", b"a"]}
    table = pa.table({**odd, "n": [1, 2]} if first else {"n": [1, 2], **odd})
    sample = read_sample([write(tmp_path / "a.parquet", table)], 10)
    assert (sample.rows, list(sample.columns), list(sample.unusable)) == (2, ["n"], ["blob"])
    assert "text must be UTF-8" in sample.unusable["blob"]


NESTED = {
    "rid": ["a", "b", "c"],
    "user": [{"id": "u", "at": {"city": "x"}}, None, {"id": "v", "at": None}],
    "candidates": [[{"sku": "s", "tags": ["t"]}, {"sku": "r", "tags": []}], [], None],
    "odd.name": [{"x": 1}] * 3,
    "empty": [{}] * 3,
    "user.id": [1, 2, 3],
}
FOUND = {
    "rid": ["a", "b", "c"],
    "user.id": [1, 2, 3],  # the column of that name, not the path
    "user.at.city": ["x", None, None],
    "candidates[].sku": [["s", "r"], [], None],
    "candidates[].tags": [[["t"], []], [], None],
}


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_structs_are_sampled_by_the_paths_to_what_they_hold(tmp_path: Path, kind: str) -> None:
    columns = dict(NESTED)
    if kind == "jsonl":
        path = tmp_path / "a.jsonl"
        path.write_text("".join(json.dumps({n: v[row] for n, v in columns.items()}) + "\n" for row in range(3)))
    else:
        del columns["empty"]  # which Parquet does not take
        path = write(tmp_path / "a.parquet", pa.table(columns))
    sample = read_sample([path], 10)
    plain = {name: column.to_pylist() for name, column in sample.columns.items()}
    assert plain == FOUND
    others = {"odd.name.x", "empty"} if kind == "jsonl" else {"odd.name.x"}
    assert set(sample.unusable) == others
    assert sample.unusable["odd.name.x"].startswith("no path leads to it")
