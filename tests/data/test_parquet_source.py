"""The user's own files: which are found, and when the fingerprint changes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.data import found
from distill.data.datasets import ParquetSource, fingerprint
from distill.data.prepare import prepare
from distill.data.split import DateSplit, RandomSplit, TimeSplit
from distill.errors import DataError, SchemaError
from distill.schema import load_schema

SCHEMA = """
name: shop
layout: flat
keys: {time: time}
fields:
  - {name: user, side: request, kind: id}
tasks:
  - {name: click}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "schema.yaml").write_text(SCHEMA)
    data = tmp_path / "data"
    (data / "day=2").mkdir(parents=True)
    for name, start in (("b.parquet", 0), ("day=2/a.parquet", 40)):
        times = list(range(start, start + 40))
        table = pa.table({"time": times, "user": [t % 7 for t in times], "click": [t % 2 for t in times]})
        pq.write_table(table, data / name)
    (data / "_SUCCESS.csv").write_text("")
    (data / ".hidden.parquet").write_text("")
    (data / "notes.txt").write_text("")
    return tmp_path


def make(folder: Path, source: str = "data") -> ParquetSource:
    return ParquetSource(str(folder / source), str(folder / "schema.yaml"), RandomSplit())


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("data", ["b.parquet", "a.parquet"]),
        ("data/b.parquet", ["b.parquet"]),
        ("data/day=*/*.parquet", ["a.parquet"]),
        ("data/**/*.parquet", ["b.parquet", "a.parquet"]),
    ],
)
def test_files_are_found(folder: Path, source: str, names: list[str]) -> None:
    raw = make(folder, source).write_raw(folder / "unused")
    assert [file.name for file in raw.files] == names
    assert not (folder / "unused").exists()
    assert raw.split == RandomSplit()


def test_the_catalogue_is_not_a_data_file(folder: Path) -> None:
    items = folder / "data" / "items.parquet"
    pq.write_table(pa.table({"item": [1]}), items)
    raw = replace(make(folder), items=str(items)).write_raw(folder)
    assert raw.items == items
    assert items not in raw.files


def test_the_name_is_the_schemas_unless_given(folder: Path) -> None:
    assert make(folder).name == "shop"
    assert replace(make(folder), name="mine").name == "mine"


def test_it_can_be_prepared(folder: Path) -> None:
    source = replace(make(folder), split=TimeSplit())
    dataset = prepare(source.write_raw(folder), folder / "ready", progress=False)
    assert [sum(part.rows for part in dataset.parts(split)) for split in ("train", "val", "test")] == [64, 8, 8]
    assert dataset.manifest.contents is not None
    assert dataset.manifest.contents.files.left_out == {found.HIDDEN: 2, found.UNKNOWN: 1}


def rewrite(folder: Path) -> None:
    file = folder / "data" / "b.parquet"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def rename(folder: Path) -> None:
    (folder / "data" / "b.parquet").rename(folder / "data" / "c.parquet")


def add(folder: Path) -> None:
    (folder / "data" / "new.csv").write_text("time\n1\n")


def edit_schema(folder: Path) -> None:
    (folder / "schema.yaml").write_text(SCHEMA.replace("name: click", "name: click, weight: 2.0"))


@pytest.mark.parametrize("change", [rewrite, rename, add, edit_schema])
def test_the_fingerprint_follows_every_change(folder: Path, change: Callable[[Path], None]) -> None:
    before = make(folder).fingerprint()
    assert before == make(folder).fingerprint()
    change(folder)
    assert make(folder).fingerprint() != before


def test_the_fingerprint_follows_the_split_and_the_catalogue(folder: Path) -> None:
    base = make(folder)
    items = folder / "items.csv"
    items.write_text("item\n1\n")
    with_items = replace(base, items=str(items))
    first = with_items.fingerprint()
    items.write_text("item\n2\n")
    prints = {base.fingerprint(), replace(base, split=RandomSplit(seed=1)).fingerprint()}
    assert len({*prints, first, with_items.fingerprint()}) == 4


def test_the_fingerprint_does_not_depend_on_where_the_folder_is(folder: Path) -> None:
    before = make(folder).fingerprint()
    (folder / "data").rename(folder / "moved")
    assert make(folder, "moved").fingerprint() == before


def test_large_files_are_sampled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = folder / "large.bin"
    content = bytearray(os.urandom(1000))
    monkeypatch.setattr(fingerprint, "WHOLE_FILE_BYTES", 100)
    monkeypatch.setattr(fingerprint, "_SAMPLE_BYTES", 10)

    def print_of(place: int | None, time: int = 1) -> str:
        changed = bytearray(content)
        if place is not None:
            changed[place] ^= 1
        file.write_bytes(changed)
        os.utime(file, ns=(time, time))
        return fingerprint.fingerprint_files([file], folder)

    base = print_of(None)
    assert print_of(None) == base
    assert base not in {print_of(0), print_of(505), print_of(999), print_of(None, time=2)}
    assert print_of(200) == base


@pytest.mark.parametrize("source", ["nowhere", "data/*.orc", "empty"])
def test_no_files_is_an_error_that_names_the_place(folder: Path, source: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match="no data files") as caught:
        make(folder, source).write_raw(folder)
    assert caught.value.where == str(folder / source)


def test_a_missing_catalogue_or_schema_is_an_error(folder: Path) -> None:
    with pytest.raises(DataError, match="catalogue"):
        replace(make(folder), items=str(folder / "none.parquet")).write_raw(folder)
    with pytest.raises(SchemaError, match="does not exist"):
        ParquetSource(str(folder), str(folder / "none.yaml"))


def test_patterns_stand_for_the_columns_of_the_files(folder: Path) -> None:
    """The prepared dataset holds plain fields; neither the split's column nor those of folders are matched."""
    schema = SCHEMA.replace("keys: {time: time}\n", "").replace("{name: user, ", "{match: '*', ")
    (folder / "schema.yaml").write_text(schema)
    for file in (folder / "data").rglob("[a-z]*.parquet"):
        table = pq.ParquetFile(file).read()
        pq.write_table(table.append_column("c1", table["user"]).append_column("fold", [["val"] * 40]), file)
    source = replace(make(folder), split=DateSplit(30, 60, "time"))
    names = ["user", "c1", "fold"]
    assert [field.name for field in source.raw_schema().fields] == names
    dataset = prepare(source.write_raw(folder / "unused"), folder / "out", progress=False)
    assert [field.name for field in load_schema(dataset.root / "schema.yaml").fields] == names
    assert "match" not in (dataset.root / "schema.yaml").read_text()
    before = source.fingerprint()
    (folder / "schema.yaml").write_text(schema.replace("'*'", "'*', except: c1"))
    assert replace(source).fingerprint() != before
    other = folder / "data" / "more.csv"
    other.write_text("time,user,click\n1,2,0\n")
    with pytest.raises(SchemaError, match=r"c1, fold: not in .*more\.csv"):
        replace(source, schema=str(_written(folder, schema))).raw_schema()


def _written(folder: Path, schema: str) -> Path:
    path = folder / "schema.yaml"
    path.write_text(schema)
    return path
