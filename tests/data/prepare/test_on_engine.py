"""What is prepared by tasks is what one process prepares, to the byte: of every shape, whatever is cut where."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from distill.data.dataset import load_dataset
from distill.data.prepare import KnownEncodings, accumulate, fit, prepare, writer
from distill.data.prepare.accumulate import Extremes, Lowest, Moments, Reservoir
from distill.data.prepare.streams import Spills, absorb_stream
from distill.data.raw import RawDataset
from distill.data.split import (
    ColumnSplit,
    DateSplit,
    FileSplit,
    RandomSplit,
    SplitRule,
    TimeSplit,
    UserTimeSplit,
    WholeSplit,
)
from distill.encodings import FittedEncodings
from distill.errors import DataError
from distill.schema import Schema, parse_schema
from tests.engines.elsewhere import Elsewhere
from tests.marks import slow_except

TIME, BY_USER = TimeSplit(0.2, 0.2), UserTimeSplit(0.2, 0.2)
FIELDS: list[dict[str, Any]] = [
    {"name": "user", "side": "request", "kind": "id"},
    {"name": "past", "side": "request", "kind": "sequence", "table": "item", "max_length": 3},
    {"name": "item", "side": "candidate", "kind": "id", "cold": {"by": ["brand"], "min_ids": 2}},
    {"name": "brand", "side": "candidate", "kind": "id"},
    {"name": "words", "column": "brand", "side": "candidate", "kind": "text", "tokens": "characters"},
    {"name": "price", "side": "candidate", "kind": "number", "encoding": "log"},
    {"name": "age", "side": "candidate", "kind": "number", "encoding": {"type": "quantile", "buckets": 4}},
    {"name": "match", "side": "cross", "kind": "number"},
    {"name": "bins", "column": "match", "side": "cross", "kind": "number",
     "encoding": {"type": "piecewise_linear", "bins": 4}},
]  # fmt: skip


def schema_of(layout: str) -> Schema:
    keys = {"request": "search", "user": "user", "item": "item", "time": "ts"}
    if layout == "flat":
        keys.pop("request")
    fields = [field for field in FIELDS if layout != "flat" or field["name"] != "past"]
    content = {
        "name": "shop",
        "layout": layout,
        "keys": keys,
        "fields": fields,
        "tasks": [{"name": "click"}, {"name": "dwell", "kind": "value"}],
        "teacher": {"kind": "logit", "columns": {"click": "said"}},
        "duplicates": "first" if layout == "requests" else "keep",
    }
    return parse_schema({k: v for k, v in content.items() if layout != "flat" or k != "duplicates"}, "test")


def rows_of(seed: int, requests: int) -> pa.Table:
    """(Request, candidate) rows with nulls, numbers of many sizes, and an item twice in a request."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 9, requests)
    n, request = int(counts.sum()), np.repeat(np.arange(requests), counts)
    item, user = rng.integers(0, 40, n), rng.integers(0, 9, requests)
    past = [[f"i{i}" for i in rng.integers(0, 40, rng.integers(0, 4))] for _ in range(requests)]
    days = np.sort(rng.integers(0, 30, requests))

    def some(values: Any) -> pa.Array:
        return pa.array(values, mask=rng.random(n) < 0.1)

    return pa.table({
        "search": [f"{seed}-{r}" for r in request],
        "user": [f"u{user[r]}" for r in request],
        "ts": pa.array(days[request] * 86_400_000_000, pa.timestamp("us")),
        "past": [past[r] for r in request],
        "part": [("train", "train", "val", "test")[r % 4] for r in request],
        "item": some([f"i{i}" for i in item]),
        "brand": [f"b{i % 7}" for i in item],
        "price": some(np.exp(3 * rng.normal(size=n))),
        "age": some(rng.normal(size=n)),
        "match": some(1e6 + rng.normal(size=n)),
        "click": some(rng.integers(0, 2, n)),
        "dwell": some(rng.random(n)),
        "said": some(rng.normal(size=n)),
    })  # fmt: skip


def nested(rows: pa.Table) -> pa.Table:
    """One row a request."""
    lists = ["item", "brand", "price", "age", "match", "click", "dwell", "said"]
    frame: dict[str, dict[str, Any]] = {}
    for row in rows.to_pylist():
        own = frame.setdefault(row["search"], {**row, **{name: [] for name in lists}})
        for name in lists:
            own[name].append(row[name])
    return pa.Table.from_pylist(list(frame.values()))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks, samples, row groups and part files of which a few hundred rows fill many."""
    monkeypatch.setattr(accumulate, "_BLOCK", 64)
    monkeypatch.setattr(fit, "Reservoir", lambda seed: Reservoir(seed, size=100))
    monkeypatch.setattr(writer, "ROW_GROUP_CANDIDATES", 50)
    monkeypatch.setattr(writer, "PART_CANDIDATES", 200)


def raw(folder: Path, shape: str, rule: SplitRule | None = None, items: bool = False) -> RawDataset:
    """Three files: of pairs, rows of a request are in several."""
    folder.mkdir()
    tables = [rows_of(seed, size) for seed, size in enumerate((40, 1, 150))]
    if shape == "requests":
        tables = [nested(table) for table in tables]
    if shape == "pairs":
        joined = pa.concat_tables(tables)
        mixed = joined.take(pa.array(np.random.default_rng(9).permutation(len(joined))))
        tables = [mixed.slice(0, 300), mixed.slice(300, 100), mixed.slice(400)]
    paths = tuple(folder / f"{number}.parquet" for number in range(3))
    for path, table in zip(paths, tables, strict=True):
        pq.write_table(table, path, row_group_size=70)
    catalogue = None
    if items:
        catalogue = folder / "items.parquet"
        columns = {"item": [f"i{i}" for i in range(60)], "brand": [f"b{i % 7}" for i in range(60)]}
        pq.write_table(pa.table({**columns, "price": [1.0] * 60, "age": [0.5] * 60}), catalogue)
    schema = schema_of("flat" if shape == "flat" else "requests")
    return RawDataset(paths, schema, rule or ColumnSplit("part"), catalogue)


def content(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def both(given: RawDataset, folder: Path, **options: Any) -> tuple[dict[str, bytes], dict[str, bytes], Elsewhere]:
    engine = Elsewhere()
    one = prepare(given, folder / "here", progress=False, **options)
    other = prepare(given, folder / "there", progress=False, engine=engine, **options)
    return content(one.root), content(other.root), engine


@pytest.mark.parametrize(
    ("shape", "memory_bytes"),
    slow_except(
        product(["flat", "requests", "pairs"], [1 << 30, 1 << 14, 1 << 12]),
        ("flat", 1 << 12),
        ("requests", 1 << 30),
        ("pairs", 1 << 14),
    ),
)
def test_the_bytes_are_those_of_one_process(tmp_path: Path, shape: str, memory_bytes: int) -> None:
    here, there, engine = both(raw(tmp_path / "raw", shape, items=True), tmp_path, memory_bytes=memory_bytes)
    assert here == there
    assert sum(name.startswith("train/part") for name in here) > 1
    wanted = {"_fit", "_encode", "_write", "_folded", "write_items"}
    assert set(engine.tasks) == wanted | ({"_spread", "_sort"} if shape == "pairs" else set())
    assert engine.tasks.count("_fit") >= (3 if shape != "pairs" or memory_bytes < 1 << 20 else 1)


def test_many_files_are_added_up_in_groups(tmp_path: Path) -> None:
    """Of 19 files two groups of eight are merged by tasks; the bytes are those of one process."""
    (tmp_path / "raw").mkdir()
    paths = tuple(tmp_path / "raw" / f"{number:02d}.parquet" for number in range(19))
    for number, path in enumerate(paths):
        pq.write_table(rows_of(number, 4 + number % 5), path)
    given = RawDataset(paths, schema_of("flat"), ColumnSplit("part"), None)
    here, there, engine = both(given, tmp_path)
    assert here == there
    assert engine.tasks.count("_fit") == 19
    assert engine.merges == 2


@pytest.mark.parametrize(
    "rule", [RandomSplit(0.2, 0.2, seed=1), DateSplit(val="1970-01-15", test="1970-01-25"), FileSplit(val=1, test=1)]
)
def test_splits_that_need_no_pass(tmp_path: Path, rule: SplitRule) -> None:
    given = raw(tmp_path / "raw", "flat", rule)
    here, there, _ = both(given, tmp_path)
    assert here == there


@pytest.mark.parametrize(
    ("rule", "shape"),
    slow_except(product([TIME, BY_USER], ["flat", "requests", "pairs"]), (TIME, "requests"), (BY_USER, "flat")),
)
def test_splits_that_look_at_all_rows_first(tmp_path: Path, rule: SplitRule, shape: str) -> None:
    here, there, engine = both(raw(tmp_path / "raw", shape, rule), tmp_path, memory_bytes=1 << 14)
    assert here == there
    alone = isinstance(rule, TimeSplit) and shape != "pairs"
    assert ({"_write_numbers"} if alone else {"_spread_records", "_look"}) <= set(engine.tasks)


def test_known_encodings_and_those_that_grow(tmp_path: Path) -> None:
    given = raw(tmp_path / "raw", "requests")
    first = prepare(replace(given, files=given.files[:1]), tmp_path / "first", progress=False)
    fitted = FittedEncodings.load(first.root, first.manifest.encodings)
    for grow in (False, True):
        known = KnownEncodings(fitted, "first", grow)
        rule = ColumnSplit("part") if grow else WholeSplit()
        here, there, _ = both(replace(given, split=rule), tmp_path / str(grow), known=known)
        assert here == there


@pytest.mark.parametrize("shape", slow_except(["flat", "requests", "pairs"], "pairs"))
def test_events_are_attributed_alike(tmp_path: Path, shape: str) -> None:
    """Clicks between the days of the rows of three files: the last row before each counts, if it is near."""
    given = raw(tmp_path / "raw", shape)
    rows = pa.concat_tables([rows_of(seed, size) for seed, size in enumerate((40, 1, 150))])
    some = rows.take(pa.array(np.random.default_rng(5).permutation(len(rows))[:300]))
    times = pc.add(some["ts"], pa.scalar(36 * 3_600_000_000, pa.duration("us")))
    clicks = tmp_path / "clicks.parquet"
    pq.write_table(pa.table({"user": some["user"], "item": some["item"], "ts": times}), clicks)
    events = {"by": ["user", "item"], "within": "1d"}
    with_events = schema_of(given.schema.layout).model_dump(mode="json", exclude_none=True)
    with_events["tasks"][0] = {"name": "click", "events": events}
    given = replace(given, schema=parse_schema(with_events, "test"), events={"click": (clicks,)})
    here, there, engine = both(given, tmp_path)
    assert here == there
    assert engine.tasks.count("_touched") == 3
    counts = load_dataset(tmp_path / "here").manifest.counts
    assert 5 < counts["events_attributed/click"] < counts["events_read/click"] <= 300


def test_an_empty_split_is_refused_alike(tmp_path: Path) -> None:
    given = raw(tmp_path / "raw", "flat", DateSplit(val="1970-01-15", test="2030-01-01"))
    with pytest.raises(DataError, match="The test split would be empty"):
        prepare(given, tmp_path / "out", progress=False, engine=Elsewhere())


def test_streams_of_parts_are_one_stream(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=1000)
    cuts = [0, 1, 333, 333, 900, 1000]
    for fold in (Moments, lambda: Reservoir(seed=3, size=100)):
        whole, folder = fold(), tmp_path / fold.__name__
        folder.mkdir()
        whole.add(values)
        all_parts = [Spills(folder / str(number)) for number in range(len(cuts))]
        for number in range(len(cuts)):
            (folder / str(number)).mkdir()
        first, *streams = [spills(fold()) for spills in all_parts]
        for stream, begin, end in zip(streams, cuts[:-1], cuts[1:], strict=True):
            stream.add(values[begin:end])
            absorb_stream(first, stream)
        all_parts[0].fold(Elsewhere())
        assert np.array_equal(np.sort(first.result()), np.sort(whole.result()))


def test_lowest_and_extremes_of_parts() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        values = rng.integers(0, 5, 12).astype(float)
        cut = int(rng.integers(0, 13))
        for kind in (Lowest, Extremes):
            whole, one, other = kind(), kind(), kind()
            whole.add(values)
            one.add(values[:cut])
            other.add(values[cut:])
            one.absorb(other)
            assert vars(one) == vars(whole)
