"""JSON lines: types that hold for the whole file, messy columns that nobody reads, and errors that name the line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.data.prepare import json_file
from distill.data.prepare.json_file import JsonFile
from distill.data.prepare.source import RawFiles, open_start
from distill.data.split import TimeSplit
from distill.errors import DataError
from distill.schema import RawColumns
from tests.data.prepare.builders import pairs, prepare_quietly, rows, schema_of

COLUMNS = ["i", "f", "s", "b", "l", "u", "t", "n", "late", "o"]
LINES: list[dict[str, Any]] = [
    {"i": 1, "f": 1, "s": "x", "b": True, "l": [], "u": 1, "t": "2025-01-01", "n": None, "messy": 1, "o": {}},
    {"i": None, "f": 2, "b": None, "l": [1, 2], "u": 2**64 - 1, "t": "2025-01-02T00:00:00Z", "messy": "x"},
    {
        "i": 3,
        "f": 2.5,
        "s": "",
        "b": False,
        "l": None,
        "u": 5,
        "t": "soon",
        "late": [["a"]],
        "messy": {"y": [1]},
        "o": {"c": [{"at": "2025-01-01", "u": 1}], "x": 1},
    },
    {},
    {
        "i": 5,
        "f": 1e3,
        "s": "ü\n",
        "b": True,
        "l": [3, None],
        "u": None,
        "t": "2025-01-05",
        "messy": [2],
        "o": {"c": [{"at": "soon", "u": 2**64 - 1}, None], "y": True},
    },
]
OBJECT = pa.struct({"c": pa.list_(pa.struct({"at": pa.string(), "u": pa.uint64()})), "x": pa.int64(), "y": pa.bool_()})
KINDS = {
    "i": pa.int64(),
    "f": pa.float64(),
    "s": pa.string(),
    "b": pa.bool_(),
    "l": pa.list_(pa.int64()),
    "u": pa.uint64(),
    "t": pa.string(),
    "n": pa.null(),
    "late": pa.list_(pa.list_(pa.string())),
    "o": OBJECT,
}


def lines(path: Path, found: list[dict[str, Any]], end: str = "\n") -> Path:
    path.write_text("\n".join(json.dumps(line) for line in found) + end, encoding="utf-8")
    return path


def read(path: Path, columns: list[str] = COLUMNS, batch_bytes: int = 1 << 20, start: int = 0) -> list[dict[str, Any]]:
    file = JsonFile(path, columns)
    return [row for batch in file.batches(columns, batch_bytes, start=start) for row in batch.to_pylist()]


EXPECTED = [{name: line.get(name) for name in COLUMNS} for line in LINES]
for row in EXPECTED:  # a key that an object does not have is null
    row["o"] = None if row["o"] is None else {key: row["o"].get(key) for key in ("c", "x", "y")}


@pytest.mark.parametrize("block", [1, 100, 1 << 24])
@pytest.mark.parametrize("end", ["\n", "", "\n\n \n"])
def test_types_hold_for_the_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, end: str) -> None:
    monkeypatch.setattr(json_file, "_BLOCK_BYTES", block)
    path = lines(tmp_path / "x.jsonl", LINES, end)
    file = JsonFile(path, COLUMNS)
    assert file.num_rows == 5
    assert {field.name: field.type for field in file.schema} == {**KINDS, "messy": pa.null()}
    assert read(path) == EXPECTED
    assert read(path, start=3) == EXPECTED[3:]
    assert read(path, ["late", "i"]) == [{"late": row["late"], "i": row["i"]} for row in EXPECTED]
    assert file.memory(COLUMNS) > 0


@pytest.mark.parametrize("suffix", ["jsonl.gz", "ndjson", "jsonl.zst", "ndjson.bz2"])
def test_files_may_be_compressed(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    with pa.output_stream(str(path), compression="detect") as stream:
        stream.write(lines(tmp_path / "plain", LINES).read_bytes())
    assert path.read_bytes()[:1] != b"{" or suffix == "ndjson"
    assert read(path) == EXPECTED


def test_rows_come_in_batches_of_a_size(tmp_path: Path) -> None:
    path = lines(tmp_path / "x.jsonl", [{"i": i, "s": "x" * 100} for i in range(1000)])
    sizes = [batch.num_rows for batch in JsonFile(path, ["i", "s"]).batches(["s"], 20_000)]
    assert sum(sizes) == 1000
    assert max(sizes) <= 100


def test_only_first_rows_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_file, "_FIRST_BLOCK", 20)
    path = lines(tmp_path / "x.jsonl", [{"i": i} for i in range(9)])
    with path.open("a") as stream:
        stream.write("no json")
    file, names = open_start(path, 7)
    assert names == {"i": 1}
    assert file.num_rows == 7
    assert [row["i"] for batch in file.batches(["i"], 1 << 20) for row in batch.to_pylist()] == list(range(7))


@pytest.mark.parametrize("block", [1, 1 << 24])
@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        ('{"i": 1}\n{"i": "x"}\n', 2, "changed from"),
        ('{"i": 1}\n{"i": true}\n', 2, "changed from"),
        ('{"i": 1}\n{"i": [1]}\n', 2, "changed from"),
        ('{"i": 1}\n{"i": 1\n', 2, "delimiter"),
        ('{"i": 1}\n[1]\n', 2, "not an object but a list"),
        ('{"i": 1}\n7\n', 2, "not an object but a int"),
        ('{"i": 1}\ni\n1\n', 2, "Expecting value"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, text: str, line: int, found: str
) -> None:
    monkeypatch.setattr(json_file, "_BLOCK_BYTES", block)
    path = tmp_path / "x.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match="JSON lines cannot be parsed") as caught:
        JsonFile(path, ["i"])
    assert str(caught.value.where).startswith(f"{path}, line {line}")
    assert found in str(caught.value.found)
    assert found != "changed from" or "column 'i'" in str(caught.value.where)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"i": 1}\n' * 1000)[:-20])
    with pytest.raises(DataError, match="JSON lines cannot be parsed") as caught:
        JsonFile(path, ["i"])
    assert str(path) in str(caught.value.where)


def test_text_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"s": "a"}\n{"s": "\xff"}\n')
    with pytest.raises(DataError, match=r"x\.jsonl, line 2, column 's'"):
        list(RawFiles([path], ["s"], []).batches(["s"]))


def test_an_empty_file_has_no_columns(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("\n")
    file = JsonFile(path, ["i"])
    assert (file.num_rows, file.schema.names) == (0, [])


def test_what_the_schema_declares_holds(tmp_path: Path) -> None:
    path = lines(tmp_path / "x.jsonl", [{"zip": 71, "t": "2025-01-01", "n": "-"}, {"t": "2025-01-02T01:00:00+01:00"}])
    raw = RawColumns(null_values=("-",), columns={"zip": "text", "t": "time", "n": "integer"})
    (batch,) = RawFiles([path], ["zip", "t", "n"], [], raw=raw).batches(["zip", "t", "n"])
    assert batch.columns["zip"].to_pylist() == ["71", None]
    assert batch.columns["n"].to_pylist() == [None, None]
    assert [str(t) for t in batch.columns["t"].to_pylist()] == [
        "2025-01-01 00:00:00+00:00",
        "2025-01-02 00:00:00+00:00",
    ]


@pytest.mark.parametrize("block", [1, 1 << 24])
def test_a_column_of_several_kinds_may_be_declared_as_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(json_file, "_BLOCK_BYTES", block)
    values = [71, "071", None, True, "ü", [1, "a"], 2.5]
    path = lines(tmp_path / "x.jsonl", [{"zip": value, "i": i, "messy": values[-i]} for i, value in enumerate(values)])
    raw = RawColumns(columns={"zip": "text"})
    batches = list(RawFiles([path], ["zip", "i"], [], raw=raw).batches(["zip", "i"]))
    found = [
        (zip_code, i)
        for b in batches
        for zip_code, i in zip(*(b.columns[n].to_pylist() for n in ("zip", "i")), strict=True)
    ]
    assert found == list(zip(["71", "071", None, "true", "ü", '[1, "a"]', "2.5"], range(7), strict=True))
    with pytest.raises(DataError, match=r"line 2, column 'zip'(.|\n)*declare it as text in `raw\.columns`"):
        RawFiles([path], ["zip"], [])


@pytest.mark.parametrize("nested", [False, True])
def test_a_dataset_of_json_lines_is_that_of_parquet(tmp_path: Path, nested: bool) -> None:
    times = ["2025-01-01", "2025-01-01", "2025-01-02", "2025-01-02", "2025-01-02", "2025-01-03", "2025-01-04T01:00:00Z"]
    table = pa.table(pairs(ts=times))
    if nested:
        lists = [(name, "list") for name in ("item", "price", "click")]
        grouped = table.group_by(["rid", "uid", "part", "ts"], use_threads=False).aggregate(lists)
        table = grouped.rename_columns([name.removesuffix("_list") for name in grouped.column_names])
    pq.write_table(table, tmp_path / "x.parquet")
    lines(tmp_path / "x.jsonl", table.to_pylist())
    schema = schema_of(keys={"request": "rid", "user": "uid", "item": "item", "time": "ts"})
    one, other = (
        prepare_quietly(tmp_path / f"x.{kind}", tmp_path / kind, schema, TimeSplit(0.25, 0.25))
        for kind in ("parquet", "jsonl")
    )
    assert one.fingerprint == other.fingerprint
    assert len(rows(other, "train")) == 2


@pytest.mark.parametrize("block", [1, 1 << 24])
def test_the_least_integer_beyond_63_bits_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(json_file, "_BLOCK_BYTES", block)
    path = lines(tmp_path / "x.jsonl", [{"o": {"u": [2**63]}}, {"o": {"u": [2**63 + 1]}}])
    assert [row["o"]["u"] for row in read(path, ["o"])] == [[2**63], [2**63 + 1]]


def test_a_key_of_several_kinds_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_file, "_BLOCK_BYTES", 1)
    path = lines(tmp_path / "x.jsonl", [{"o": {"x": 1}}, {"o": {"x": "a"}}])
    with pytest.raises(DataError, match="column 'o'"):
        JsonFile(path, ["o"])
