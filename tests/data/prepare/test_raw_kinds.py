"""One table gives one dataset, whatever kind of file holds it."""

from __future__ import annotations

import csv
import gzip
import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.ipc as ipc
import pyarrow.orc as orc
import pyarrow.parquet as pq
import pytest

from distill.data.format import Dataset
from distill.data.split import TimeSplit
from distill.errors import DataError
from distill.schema import Schema
from tests.data.prepare.builders import BY_COLUMN, pairs, prepare_quietly, schema_of
from tests.marks import some_fast

Rows = dict[str, list[Any]]


def text_of(columns: Rows, delimiter: str, null: Callable[[], str] = lambda: "") -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=delimiter)
    writer.writerow(columns)
    writer.writerows([null() if v is None else v for v in row] for row in zip(*columns.values(), strict=True))
    return stream.getvalue().encode()


def write_as(path: Path, columns: Rows | pa.Table) -> Path:
    """Writes a table as the name of the file says."""
    name = path.name
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    codecs = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".lz4": "lz4"}
    if ".csv" in name or ".tsv" in name or ".tab" in name:
        data = text_of(table.to_pydict(), "," if ".csv" in name else "\t")
        with (
            pa.CompressedOutputStream(str(path), codecs[path.suffix]) if path.suffix in codecs else path.open("wb") as f
        ):
            f.write(data)
    elif name.endswith(".orc"):
        orc.write_table(table, str(path), stripe_size=1)
    elif name.endswith((".feather", ".ipc")):
        feather.write_feather(table, str(path), compression="zstd" if name.endswith("ipc") else "uncompressed")
    elif name.endswith(".arrow"):
        with ipc.new_stream(str(path), table.schema) as sink:
            sink.write_table(table, max_chunksize=2)
    else:
        pq.write_table(table, path)
    return path


def fingerprint(dataset: Dataset) -> str:
    return dataset.manifest.fingerprint


NAMES = ["x.pq", "x.parquet.gzip", "part-00000", "x.feather", "x.ipc", "x.arrow", "x.orc", "x.csv", "x.tsv", "x.tab"]
NAMES += ["x.csv.gz", "x.csv.zst", "x.csv.bz2", "x.tsv.lz4"]


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_gives_the_dataset_of_parquet(tmp_path: Path, name: str) -> None:
    columns = pairs(price=[1.5, None, 1.0, 3.0, 2.0, 2.0, 100.0])
    expected = prepare_quietly(write_as(tmp_path / "raw.parquet", columns), tmp_path / "expected")
    found = prepare_quietly(write_as(tmp_path / name, columns), tmp_path / "found")
    assert fingerprint(found) == fingerprint(expected)
    assert found.manifest.counts == expected.manifest.counts


@pytest.mark.parametrize("name", ["x.feather", "x.arrow", "x.orc"])
def test_lists_in_other_kinds(tmp_path: Path, name: str) -> None:
    columns: Rows = {
        "rid": ["a", "b", "c", "d"],
        "uid": [1, 2, 1, 3],
        "item": [[1, 2], [1], [2], [3, 1]],
        "price": [[1.0, 2.0], [1.0], [3.0], [0.5, 1.0]],
        "click": [[1, 0], [1], [0], [0, 1]],
        "part": ["train", "train", "val", "test"],
    }
    expected = prepare_quietly(write_as(tmp_path / "raw.parquet", columns), tmp_path / "expected")
    assert fingerprint(prepare_quietly(write_as(tmp_path / name, columns), tmp_path / "found")) == fingerprint(expected)


@pytest.mark.parametrize(
    "name", ["x.csv.gz", "x.csv.zst", "x.csv.bz2", "x.csv.lz4", "x.feather", "x.arrow", "x.orc", "x.pq"]
)
def test_a_cut_file_is_never_read_short(tmp_path: Path, name: str) -> None:
    rows = {key: values * 500 for key, values in pairs().items()}
    rows["rid"] = [f"{rid}-{i // 7}" for i, rid in enumerate(rows["rid"])]
    rows["uid"] = list(range(3500))
    path = write_as(tmp_path / name, rows)
    data = path.read_bytes()
    for cut in (len(data) - 1, len(data) - 40, len(data) // 2, 30):
        path.write_bytes(data[:cut])
        with pytest.raises(DataError, match=name):
            prepare_quietly(path, tmp_path / "out")


def test_members_of_a_compressed_file_are_all_read(tmp_path: Path) -> None:
    head, _, rest = text_of(pairs(), ",").partition(b"\n")
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(head + b"\n") + gzip.compress(rest))
    assert prepare_quietly(path, tmp_path / "out").manifest.counts["rows_read"] == 7


def test_a_file_that_is_not_what_its_suffix_says(tmp_path: Path) -> None:
    for name in ("x.feather", "x.arrow", "x.orc", "x.pq", "x.csv.gz"):
        (tmp_path / name).write_text("hello, world, this is text\n")
        with pytest.raises(DataError, match=name):
            prepare_quietly(tmp_path / name, tmp_path / "out")


def test_columns_in_the_names_of_folders(tmp_path: Path) -> None:
    paths = []
    for part, day, chosen in (("train", 1, slice(0, 5)), ("val", 2, slice(5, 6)), ("test", 3, slice(6, 7))):
        folder = (
            tmp_path / f"part={part}" / f"day={day}" / f"place={'a%20b' if day == 1 else '__HIVE_DEFAULT_PARTITION__'}"
        )
        folder.mkdir(parents=True)
        columns = {name: values[chosen] for name, values in pairs().items() if name != "part"}
        paths.append(write_as(folder / ("x.csv" if day == 2 else "x.parquet"), columns))
    days, places = [1] * 5 + [2, 3], ["a b"] * 5 + [None, None]
    whole = write_as(tmp_path / "whole.parquet", pairs(day=days, place=pa.array(places, pa.string())))
    fields = [{"name": name, "side": "request", "kind": kind} for name, kind in (("day", "number"), ("place", "id"))]
    schema = schema_of(fields=fields)
    expected = prepare_quietly(whole, tmp_path / "expected", schema)
    assert fingerprint(prepare_quietly(tuple(paths), tmp_path / "found", schema)) == fingerprint(expected)


def test_a_folder_whose_value_is_no_number(tmp_path: Path) -> None:
    (tmp_path / "day=monday").mkdir()
    path = write_as(tmp_path / "day=monday" / "x.parquet", pairs())
    schema = schema_of(fields=[{"name": "day", "side": "request", "kind": "number"}])
    with pytest.raises(DataError, match=r"folder(.|\n)*column 'day'(.|\n)*a number(.|\n)*'monday'"):
        prepare_quietly(path, tmp_path / "out", schema)


POOLS: dict[str, Callable[[random.Random], tuple[list[Any], pa.DataType, str | None]]] = {
    "small": lambda rng: ([rng.randint(-3, 3) for _ in range(4)], pa.int32(), None),
    "large": lambda rng: ([2**53 + 1, 2**63 - 1, -(2**63) + 1, 2**62], pa.int64(), None),
    "unsigned": lambda rng: ([2**64 - 1, 2**63 + 5, 2**63 + 1, 5], pa.uint64(), None),
    "words": lambda rng: (["é", "x y", "a,b", 'q"q', "0071", "0x1F", "NA", "None", "2024-01-01"], pa.string(), None),
    "zeros": lambda rng: (["0071", "071", "71"], pa.string(), None),
    "digits": lambda rng: (["7", "10", "9"], pa.string(), "text"),
    "truth": lambda rng: ([True, False], pa.bool_(), None),
}


def _table(rng: random.Random) -> tuple[pa.Table, Schema]:
    requests = rng.randint(12, 30)
    owner = [i for i in range(requests) for _ in range(rng.randint(1, 3))]
    declared: dict[str, str] = {}

    def column(name: str, per_request: bool) -> pa.Array:
        pool, kind, as_type = POOLS[rng.choice(list(POOLS))](rng)
        size = requests if per_request else len(owner)
        values = [None if rng.random() < 0.15 else rng.choice(pool) for _ in range(size)]
        if pool == ["0071", "071", "71"]:
            values[0] = "0071"  # what says that a column of a text file is text
        if as_type:
            declared[name] = as_type
        return pa.array([values[i] for i in owner] if per_request else values, kind)

    times = [1_700_000_000 + 3600 * i for i in owner]
    kinds: list[pa.DataType] = [
        pa.int64(),
        pa.timestamp("s"),
        pa.timestamp("ms", "UTC"),
        pa.timestamp("us"),
        pa.date32(),
    ]
    kind = rng.choice(kinds)
    stamped = pa.array(
        [t // 86400 if kind == pa.date32() else t for t in times], pa.int32() if kind == pa.date32() else None
    )
    time = stamped.cast(kind) if kind in (pa.int64(), pa.date32()) else stamped.cast(pa.timestamp("s")).cast(kind)
    table = pa.table(
        {
            "rid": [f"r{i}" for i in owner],
            "uid": column("uid", True),
            "item": column("item", False),
            "price": [rng.choice([None, 1.5, -2e-7, 3.0, 1e15]) for _ in owner],
            "click": pa.array([rng.choice([True, False]) for _ in owner]),
            "time": time,
            "part": [("val", "test", "train", "train")[i % 4] for i in owner],
        }
    )
    keys = {"request": "rid", "user": "uid", "item": "item", "time": "time"}
    return table, schema_of(keys=keys, raw={"columns": declared} if declared else None)


@pytest.mark.parametrize("seed", some_fast(range(25), 5))
def test_text_gives_the_dataset_of_parquet(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    table, schema = _table(rng)
    by_time = not pa.types.is_date(table["time"].type) and rng.random() < 0.5
    split = TimeSplit(0.2, 0.2) if by_time else BY_COLUMN
    cut = rng.randint(0, len(table)) if rng.random() < 0.5 else 0
    pieces = [table.slice(0, cut), table.slice(cut)] if cut else [table]
    expected = tuple(write_as(tmp_path / f"{i}.parquet", piece) for i, piece in enumerate(pieces))
    text = []
    for i, piece in enumerate(pieces):
        text.append(tmp_path / f"{i}.csv")
        columns = {name: [str(v) if hasattr(v, "isoformat") else v for v in c] for name, c in piece.to_pydict().items()}
        text[-1].write_bytes(text_of(columns, ",", lambda: rng.choice(["", "\\N", "NULL", "null"])))
    wanted = prepare_quietly(expected, tmp_path / "expected", schema, split)
    found = prepare_quietly(tuple(text), tmp_path / "found", schema, split)
    assert fingerprint(found) == fingerprint(wanted)
    mixed = (expected[0], *text[1:])
    assert fingerprint(prepare_quietly(mixed, tmp_path / "mixed", schema, split)) == fingerprint(wanted)
