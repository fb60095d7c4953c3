"""Types of raw columns that differ between files, or that the schema declares."""

from __future__ import annotations

import logging
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from distill.data.format import Dataset
from distill.data.prepare.source import RawFiles
from distill.data.split import TimeSplit
from distill.encodings.id_values import to_id_values, to_keys
from distill.encodings.place import Place
from distill.encodings.text import Evidence, to_instants
from distill.encodings.times import to_times
from distill.encodings.values import to_numbers
from distill.errors import DataError, SchemaError
from tests.data.prepare.builders import pairs, prepare_quietly, rows, schema_of, write

PLACE = Place("c", "field 'c'")
START = 1_704_067_200  # 2024-01-01


def _csv(path: Path, columns: dict[str, list[Any]]) -> Path:
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n")
    return path


def _read(paths: list[Path], name: str, **options: Any) -> list[Any]:
    files = RawFiles(paths, [name], [], **options)
    return [value for batch in files.batches([name]) for value in batch.columns[name].to_pylist()]


def _instants(paths: list[Path]) -> list[int]:
    files = RawFiles(paths, ["t"], [], times=["t"])
    return [int(t) for batch in files.batches(["t"]) for t in to_times(batch.columns["t"], PLACE)]


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.timestamp(unit) for unit in ("s", "ms", "us", "ns")),
        *(pa.timestamp(unit, zone) for unit in ("s", "ns") for zone in ("UTC", "Europe/Paris")),
        pa.date32(),
        pa.date64(),
    ],
    ids=str,
)
@pytest.mark.parametrize("other", [pa.timestamp("us"), pa.timestamp("ms", "Asia/Tokyo"), pa.date32()], ids=str)
def test_times_of_several_types_are_read_on_one_clock(tmp_path: Path, kind: pa.DataType, other: pa.DataType) -> None:
    def stored(day: int, to: pa.DataType) -> pa.Array:
        seconds = pa.array([START + 86_400 * day], pa.timestamp("s"))
        return seconds.cast(pa.timestamp("s", to.tz)).cast(to) if pa.types.is_timestamp(to) else seconds.cast(to)

    one = write(tmp_path / "1.parquet", {"t": stored(1, kind)})
    two = write(tmp_path / "2.parquet", {"t": stored(0, other)})
    assert _instants([one, two]) == [(START + 86_400) * 10**6, START * 10**6]


def test_one_clock_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one = write(tmp_path / "1.parquet", {"t": pa.array([0], pa.date32())})
    two = write(tmp_path / "2.parquet", {"t": pa.array([0], pa.timestamp("us"))})
    with caplog.at_level(logging.WARNING):
        RawFiles([one, two], ["t"], [])
    assert "date32[day] as in" in caplog.text
    assert "a date is midnight, a time without a zone is UTC" in caplog.text


def test_dates_and_times_of_day_do_not_agree(tmp_path: Path) -> None:
    one = write(tmp_path / "1.parquet", pairs(t=pa.array(range(7), pa.date32())))
    two = write(tmp_path / "2.parquet", pairs(t=pa.array(range(7), pa.time64("us"))))
    schema = schema_of(keys={"request": "rid", "time": "t"})
    with pytest.raises(
        DataError, match=r"do not agree(.|\n)*2\.parquet(.|\n)*time, as in .*1\.parquet(.|\n)*time of day"
    ):
        prepare_quietly((one, two), tmp_path / "out", schema)


def test_whole_and_broken_seconds_are_one_clock(tmp_path: Path) -> None:
    one = write(tmp_path / "1.parquet", {"t": [3]})
    two = write(tmp_path / "2.parquet", {"t": [2.5]})
    three = _csv(tmp_path / "3.csv", {"t": [1.5]})
    found = _instants([one, two, three])
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("2024-01-01", 0),
        ("2024-01-01 00:00:01", 1),
        ("2024-01-01T00:00:01Z", 1),
        ("2024-01-01T08:00:01+08:00", 1),
        ("2023-12-31 19:00:01-0500", 1),
        ("2023-12-31T19:00-05", 0),
        ("2024-01-01T00:00:01.123456789Z", 1.123456),
        ("2024-01-01T00:00:01.123456789", 1.123456),
    ],
)
def test_iso_text_with_and_without_a_zone(tmp_path: Path, written: str, seconds: float) -> None:
    expected = [round((START + seconds) * 10**6), START * 10**6]
    values = [written, "2024-01-01"]
    assert to_instants(pa.array(values)).cast(pa.int64()).to_pylist() == expected
    assert _instants([write(tmp_path / "x.parquet", {"t": values})]) == expected
    assert _instants([_csv(tmp_path / "x.csv", {"t": values})]) == expected


def test_the_row_of_a_wrong_time_is_named() -> None:
    with pytest.raises(DataError, match=r"row 700, (.|\n)*'unknown'"):
        to_times(pa.array(["2024-01-01"] * 700 + ["unknown", "2024-01-01", "worse"]), PLACE)


def test_the_row_of_a_value_that_does_not_fit_is_named(tmp_path: Path) -> None:
    one = write(tmp_path / "1.parquet", {"c": [1, 2]})
    two = write(tmp_path / "2.parquet", {"c": [1.0] * 50 + [2.5, 3.5]}, row_group_size=40)
    with pytest.raises(DataError, match=r"2\.parquet, row group 1, row 10, column 'c'"):
        _read([one, two], "c")


def test_a_time_beyond_the_clock_is_an_error_not_a_misorder() -> None:
    with pytest.raises(DataError, match=r"out of range(.|\n)*row 1"):
        to_times(pa.array([0, 2**60], pa.timestamp("s")), PLACE)
    with pytest.raises(DataError, match=r"out of range(.|\n)*row 2"):
        to_times(pa.array([0, 1, 2**63], pa.uint64()), PLACE)


LARGE = [2**64 - 1, 2**63, 5]


@pytest.mark.parametrize("kind", [pa.uint64(), pa.decimal128(20, 0), pa.decimal256(40, 0)], ids=str)
def test_ids_of_64_bits_are_taken_by_their_bits(kind: pa.DataType) -> None:
    array = pa.array([Decimal(v) if pa.types.is_decimal(kind) else v for v in LARGE] + [None], kind)
    assert to_id_values(array, PLACE).to_pylist() == [-1, -(2**63), 5, None]
    keys, missing = to_keys(array, PLACE)
    assert keys.tolist() == [-1, -(2**63), 5, 0]
    assert missing.tolist() == [False, False, False, True]
    values, _ = to_numbers(array, PLACE)
    assert values[:3].tolist() == [float(v) for v in LARGE]


def test_ids_of_more_bits_are_located() -> None:
    array = pa.array([Decimal(1), Decimal(10**25)], pa.decimal128(30, 0))
    with pytest.raises(DataError, match=r"more than 64 bits(.|\n)*row 1(.|\n)*10000000000000000000000000"):
        to_id_values(array, PLACE)


@pytest.mark.parametrize(
    ("value", "match"), [(2.5, "not whole"), (2.0**60, "too large to be exact"), (-(2.0**60), "too large to be exact")]
)
def test_what_is_said_of_float_ids_is_true(value: float, match: str) -> None:
    with pytest.raises(DataError, match=rf"{match}(.|\n)*row 1"):
        to_id_values(pa.array([1.0, value]), PLACE)


def test_unsigned_ids_in_lists(tmp_path: Path) -> None:
    columns = {
        "rid": pa.array([2**64 - 1, 2**63 + 1, 1, 2], pa.uint64()),
        "uid": [1, 2, 1, 3],
        "item": pa.array([[2**64 - 1], [2**64 - 1, 3], [3], [4]], pa.list_(pa.uint64())),
        "price": [[1.0], [1.0, 2.0], [3.0], [0.5]],
        "click": [[1], [1, 0], [0], [1]],
        "part": ["train", "train", "val", "test"],
    }
    dataset = prepare_quietly(write(tmp_path / "raw.parquet", columns), tmp_path / "out")
    assert [row["key_item"] for row in rows(dataset, "train")] == [[-1], [-1, 3]]
    assert [row["field_item"] for row in rows(dataset, "train")] == [[2], [2, 3]]


def _ids(dataset: Dataset) -> list[int]:
    return sorted({i for split in ("train", "val", "test") for row in rows(dataset, split) for i in row["field_word"]})  # type: ignore[arg-type]


WORD = [{"name": "word", "side": "candidate", "kind": "id"}]


def _word_ids(tmp_path: Path, words: list[str], raw: dict[str, Any] | None = None) -> list[int]:
    path = _csv(tmp_path / "raw.csv", pairs(word=words))
    return _ids(prepare_quietly(path, tmp_path / "out", schema_of(fields=WORD, raw=raw)))


@pytest.mark.parametrize(
    ("words", "raw", "ids"),
    [
        (["0071", "071", "71", "71", "71", "71", "71"], None, [2, 3, 4]),
        (["0071", "071", "71", "71", "71", "71", "71"], {"columns": {"word": "integer"}}, [2]),
        (["1", "2", r"\N", "", "NULL", "null", "1"], None, [0, 2, 3]),
        (["1", "2", "None", "NA", "N/A", "1", "1"], None, [0, 2, 3]),
        (["1", "2", "None", "NA", "N/A", "1", "1"], {"columns": {"word": "text"}}, [2, 3, 4, 5, 6]),
        (["a", "a", "NA", "NA", "NA", "a", "a"], None, [2, 3]),
        (["NA", "NA", "NA", "", "NA", "NA", "NA"], None, [0, 2]),
        (["a", "a", "-", "-", "a", "a", ""], {"null_values": ["-"]}, [0, 2]),
        (["1", "1", "NULL", "2", "2", "1", "1"], {"null_values": ["-"]}, [2, 3, 4]),
        (["a", "a", "-", "-", "a", "a", ""], None, [0, 2, 3]),
    ],
)
def test_nulls_and_text_in_csv(tmp_path: Path, words: list[str], raw: dict[str, Any] | None, ids: list[int]) -> None:
    assert _word_ids(tmp_path, words, raw) == ids


def test_words_taken_for_null_are_counted_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        _word_ids(tmp_path, ["1", "2", "None", "NA", "N/A", "1", "1"])
    assert "Column 'word': 3 words such as None or NA" in caplog.text
    assert "raw.columns: {word: text}" in caplog.text


def test_words_are_words_where_another_file_holds_text(tmp_path: Path) -> None:
    one, two = _csv(tmp_path / "1.csv", {"c": ["1", "NA"]}), _csv(tmp_path / "2.csv", {"c": ["x", "2"]})
    three, four = _csv(tmp_path / "3.csv", {"c": ["NA", "NA"]}), write(tmp_path / "4.parquet", {"c": [7]})
    assert _read([one, two], "c") == ["1", "NA", "x", "2"]
    assert _read([three, two], "c") == ["NA", "NA", "x", "2"]
    assert _read([three, one], "c") == [None, None, 1, None]
    assert _read([three, four], "c") == [None, None, 7]


def test_truth_values_beside_numbers_in_csv(tmp_path: Path) -> None:
    one = _csv(tmp_path / "1.csv", pairs(click=["True", "FALSE", "true", "False", "false", "TRUE", ""]))
    numbers = pairs(click=[1, 0, 1, 0, 0, 1, "True"], rid=[f"s{i}" for i in (1, 1, 2, 2, 2, 3, 4)])
    dataset = prepare_quietly((one, _csv(tmp_path / "2.csv", numbers)), tmp_path / "out")
    labels = sorted(row["label_click"] for split in ("val", "test") for row in rows(dataset, split))  # type: ignore[arg-type]
    assert [x for label in labels for x in label if x == x] == [1.0, 1.0, 1.0]


DECLARED: list[tuple[str, pa.Array, list[Any]]] = [
    ("text", pa.array([1, None, 71]), ["1", None, "71"]),
    ("text", pa.array([Decimal(2**70)], pa.decimal128(30, 0)), [str(2**70)]),
    ("text", pa.array([["a", "-"], None]), [["a", None], None]),
    ("integer", pa.array(["0071", "71", "-"]), [71, 71, None]),
    ("integer", pa.array([3.0, None]), [3, None]),
    ("integer", pa.array([["1", "-"], []]), [[1, None], []]),
    ("integer", pa.array([str(2**64 - 1)]), [-1]),
    ("number", pa.array(["1.5", "-", "1e3"]), [1.5, None, 1000.0]),
    ("number", pa.array([7]), [7.0]),
    ("boolean", pa.array([1, 0, None]), [True, False, None]),
    ("boolean", pa.array(["True", "0", "-"]), [True, False, None]),
    ("time", pa.array([0], pa.date32()), [np.datetime64(0, "us")]),
    ("time", pa.array(["1970-01-01T01:00+01:00"]), [np.datetime64(0, "us")]),
]


@pytest.mark.parametrize(("kind", "stored", "expected"), DECLARED, ids=lambda v: v if isinstance(v, str) else "")
def test_declared_types_of_parquet(tmp_path: Path, kind: str, stored: pa.Array, expected: list[Any]) -> None:
    raw = schema_of(fields=WORD, raw={"columns": {"c": kind}, "null_values": ["-"]}).raw
    found = _read([write(tmp_path / "x.parquet", {"c": stored})], "c", raw=raw)
    plain = [np.datetime64(v.replace(tzinfo=None), "us") if hasattr(v, "tzinfo") else v for v in found]
    assert plain == expected


@pytest.mark.parametrize(
    ("kind", "stored", "match"),
    [
        ("integer", pa.array(["1", "2", "x"]), r"row 2, column 'c'(.|\n)*'x'"),
        ("integer", pa.array([1.0, 2.5]), r"row 1, column 'c'(.|\n)*2.5"),
        ("boolean", pa.array([1, 0, 2]), r"row 2, column 'c'(.|\n)*2"),
        ("text", pa.array([1.5]), r"as text(.|\n)*row 0(.|\n)*stored as float"),
        ("time", pa.array([5]), r"as time(.|\n)*row 0(.|\n)*stored as int"),
        ("number", pa.array([["1"], ["x"]]), r"row 1, value 0, column 'c'"),
    ],
)
def test_values_that_are_not_as_declared_are_located(tmp_path: Path, kind: str, stored: pa.Array, match: str) -> None:
    raw = schema_of(fields=WORD, raw={"columns": {"c": kind}}).raw
    with pytest.raises(DataError, match=match):
        _read([write(tmp_path / "x.parquet", {"c": stored})], "c", raw=raw)


def test_values_of_csv_that_are_not_as_declared_are_located(tmp_path: Path) -> None:
    raw = schema_of(fields=WORD, raw={"columns": {"c": "integer"}}).raw
    with pytest.raises(DataError, match=r"not an integer(.|\n)*line 4, column 'c'(.|\n)*'x'"):
        RawFiles([_csv(tmp_path / "x.csv", {"c": [1, 2, "x"]})], ["c"], [], raw=raw)


def test_a_declared_column_must_be_used(tmp_path: Path) -> None:
    schema = schema_of(raw={"columns": {"prize": "number"}})
    with pytest.raises(SchemaError, match=r"raw\.columns\.prize(.|\n)*Did you mean 'price'"):
        prepare_quietly(write(tmp_path / "raw.parquet", pairs()), tmp_path / "out", schema)


def test_unknown_declarations_are_errors() -> None:
    with pytest.raises(SchemaError, match=r"raw\.columns\.price"):
        schema_of(raw={"columns": {"price": "decimal"}})
    with pytest.raises(SchemaError, match=r"Did you mean 'null_values'"):
        schema_of(raw={"nul_values": []})


def test_types_are_found_whatever_the_order_of_blocks() -> None:
    blocks = [["1", "2"], [str(2**64 - 1)], ["007"], ["x"], ["1.5"], ["2024-01-01"]]
    kinds = []
    for end in range(1, len(blocks) + 1):
        for order in (blocks[:end], blocks[:end][::-1]):
            evidence = Evidence(numeric=False, may_be_time=True)
            for block in order:
                evidence.add(pa.array(block, pa.string()))
            kinds.append(evidence.kind)
    assert kinds[0::2] == kinds[1::2] == [pa.int64(), pa.uint64(), *[pa.string()] * 4]


def test_text_times_split_like_timestamps(tmp_path: Path) -> None:
    stamps = pa.array([START + i for i in (0, 0, 1, 1, 1, 2, 3)], pa.timestamp("s"))
    schema = schema_of(keys={"request": "rid", "time": "t"})
    split = TimeSplit(0.25, 0.25)
    one = prepare_quietly(write(tmp_path / "1.parquet", pairs(t=stamps)), tmp_path / "one", schema, split)
    zoned = [f"{value.isoformat()}Z" for value in stamps.to_pylist()]
    two = prepare_quietly(write(tmp_path / "2.parquet", pairs(t=zoned)), tmp_path / "two", schema, split)
    assert one.manifest.fingerprint == two.manifest.fingerprint


def test_the_keys_of_the_catalogue_are_of_the_type_of_the_candidates(tmp_path: Path) -> None:
    items = write(tmp_path / "items.parquet", {"item": [str(i) for i in (10, 11, 12, 99)], "price": [1.0] * 4})
    raw = _csv(tmp_path / "raw.csv", pairs())
    fields = [{"name": "price", "side": "candidate", "kind": "number"}]
    with pytest.raises(
        DataError, match=r"items\.parquet, column 'item'(.|\n)*numbers, as in .*raw\.csv(.|\n)*raw\.columns"
    ):
        prepare_quietly(raw, tmp_path / "out", schema_of(fields=fields), items=items)
    declared = schema_of(fields=fields, raw={"columns": {"item": "integer"}})
    dataset = prepare_quietly(raw, tmp_path / "out", declared, items=items)
    assert sum(part.rows for part in dataset.manifest.items) == 4
