"""Several sources, and splits that have files of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.data.datasets import ParquetSource
from distill.data.format import SPLITS
from distill.data.prepare import prepare
from distill.data.split import (
    ColumnSplit,
    DateSplit,
    FileSplit,
    KFoldSplit,
    RandomSplit,
    SplitRule,
    TimeSplit,
    UserTimeSplit,
    WholeSplit,
)
from distill.errors import ConfigError, DataError

FLAT = """
name: shop
layout: flat
keys: {time: time, user: user}
fields:
  - {name: user, side: request, kind: id}
tasks:
  - {name: click}
"""
PAIRS = """
name: shop
layout: LAYOUT
keys: {request: rid}
fields:
  - {name: item, side: candidate, kind: id}
tasks:
  - {name: click}
"""


def log(path: Path, times: range) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"time": times, "user": [t % 4 for t in times], "click": [t % 2 for t in times]}), path)
    return path


@pytest.fixture
def days(tmp_path: Path) -> Path:
    """Four days of 20 rows each."""
    (tmp_path / "schema.yaml").write_text(FLAT)
    for day in range(4):
        log(tmp_path / f"logs/day={day}/part.parquet", range(20 * day, 20 * day + 20))
    return tmp_path


def make(folder: Path, source: Any, split: SplitRule | None = None) -> ParquetSource:
    def below(paths: Any) -> Any:
        return [str(folder / path) for path in paths] if isinstance(paths, list) else str(folder / paths)

    given = {name: below(paths) for name, paths in source.items()} if isinstance(source, dict) else below(source)
    return ParquetSource(given, str(folder / "schema.yaml"), split or TimeSplit())


def times(folder: Path, source: ParquetSource) -> dict[str, list[int]]:
    dataset = prepare(source.write_raw(folder / "unused"), folder / "out", progress=False)
    assert dataset.manifest.contents is not None
    assert not list(folder.glob("unused"))
    found = {name: dataset.manifest.contents.splits[name].time for name in SPLITS}
    rows = {name: sum(part.rows for part in dataset.parts(name)) for name in SPLITS}
    return {
        name: [int(float(of.first or -1)), int(float(of.last or -1)), rows[name]] for name, of in found.items() if of
    }


def test_several_sources_are_read_once_each_in_their_order(days: Path) -> None:
    (days / "again").mkdir()
    (days / "again/link.parquet").symlink_to(days / "logs/day=1/part.parquet")
    names = ["logs/day=2", "logs/day=1/part.parquet", "logs/day=[12]", "again", "logs/../logs/day=0/*.parquet"]
    raw = make(days, names).write_raw(days)
    assert [path.parent.name for path in raw.files] == ["day=2", "day=1", "day=0"]
    assert raw.found is not None
    assert raw.found.read == raw.files


def test_the_source_without_files_is_named(days: Path) -> None:
    with pytest.raises(DataError, match="no data files") as caught:
        make(days, ["logs", "none/*"]).write_raw(days)
    assert caught.value.where == str(days / "none/*")
    with pytest.raises(DataError, match=r"Check data\.source\.test"):
        make(days, {"train": "logs", "test": "none"}).write_raw(days)


def test_all_splits_apart(days: Path) -> None:
    """Files of a split may be of any time; the rule is not asked."""
    source = make(days, {"test": "logs/day=0", "train": ["logs/day=3", "logs/day=1"], "val": "logs/day=2"})
    assert times(days, source) == {"train": [20, 79, 40], "val": [40, 59, 20], "test": [0, 19, 20]}
    manifest = prepare(source.write_raw(days), days / "again", progress=False).manifest
    assert manifest.source["split"] == {"rule": None}
    assert manifest.source["apart"] == {"val": 1, "test": 1}


CUTS: list[tuple[SplitRule, str, dict[str, list[int]]]] = [
    (TimeSplit(0.1, 0.2), "test", {"train": [0, 53, 54], "val": [54, 59, 6]}),
    (TimeSplit(0.1, 0.2), "val", {"train": [0, 47, 48], "test": [48, 59, 12]}),
    (UserTimeSplit(0.2, 0.1), "test", {"train": [0, 47, 48], "val": [48, 59, 12]}),
    (UserTimeSplit(0.2, 0.1), "val", {"train": [0, 55, 56], "test": [56, 59, 4]}),
    (DateSplit(val=50, test=None), "test", {"train": [0, 49, 50], "val": [50, 59, 10]}),
    (DateSplit(val=None, test=45), "val", {"train": [0, 44, 45], "test": [45, 59, 15]}),
    (FileSplit(val=1, test=None), "test", {"train": [0, 39, 40], "val": [40, 59, 20]}),
    (FileSplit(val=None, test="day=0"), "val", {"train": [20, 59, 40], "test": [0, 19, 20]}),
]


@pytest.mark.parametrize(("rule", "apart", "expected"), CUTS)
def test_what_is_left_out_is_cut_from_train(
    days: Path, rule: SplitRule, apart: str, expected: dict[str, list[int]]
) -> None:
    source = make(days, {"train": "logs/day=[012]", apart: "logs/day=3"}, rule)
    assert times(days, source) == {**expected, apart: [60, 79, 20]}


@pytest.mark.parametrize("layout", ["flat", "requests"])
@pytest.mark.parametrize(("rule", "apart", "expected"), CUTS)
def test_requests_are_cut_whole(
    days: Path, rule: SplitRule, apart: str, expected: dict[str, list[int]], layout: str
) -> None:
    """The same with every row twice, and with requests: twice the rows in flat data, the same number of requests."""
    (days / "schema.yaml").write_text(
        FLAT.replace("flat", layout).replace("time: time", "request: time, time: time") + "duplicates: keep\n"
    )
    for path in days.glob("logs/*/*.parquet"):
        table = pq.read_table(path)
        pq.write_table(pa.concat_tables([table, table]), path)
    found = times(days, make(days, {"train": "logs/day=[012]", apart: "logs/day=3"}, rule))
    factor = 2 if layout == "flat" else 1
    assert found == {name: [a, b, factor * n] for name, (a, b, n) in {**expected, apart: [60, 79, 20]}.items()}


@pytest.mark.parametrize(("rule", "apart"), [(RandomSplit(0.2, 0.3), "test"), (RandomSplit(0.2, 0.3), "val")])
def test_a_random_share_is_cut_from_train(days: Path, rule: SplitRule, apart: str) -> None:
    found = times(days, make(days, {"train": "logs/day=[012]", apart: "logs/day=3"}, rule))
    cut, share = ("val", 0.2) if apart == "test" else ("test", 0.3)
    assert found[apart] == [60, 79, 20]
    assert found["train"][2] + found[cut][2] == 60
    assert abs(found[cut][2] - 60 * share) < 8
    assert found[cut][1] < 60


def test_folds_are_cut_from_train(days: Path) -> None:
    found = times(days, make(days, {"train": "logs/day=[012]", "val": "logs/day=3"}, KFoldSplit(k=3)))
    assert found["train"][2] + found["test"][2] == 60
    assert 10 < found["test"][2] < 30


@pytest.mark.parametrize(
    ("rule", "apart"),
    [(ColumnSplit("user"), "val"), (WholeSplit(), "test"), (KFoldSplit(), "test")],
)
def test_rules_that_cannot_cut_are_refused(days: Path, rule: SplitRule, apart: str) -> None:
    with pytest.raises(ConfigError, match="cannot split off") as caught:
        make(days, {"train": "logs/day=0", apart: "logs/day=1"}, rule)
    assert caught.value.where == "data.adapter.split"


@pytest.mark.parametrize(
    ("rule", "source", "problem", "where"),
    [
        (DateSplit(5, 9), {"train": "logs/day=0", "test": "logs/day=1"}, "Two things say what test is", "test"),
        (DateSplit(None, 9), {"train": "logs/day=0", "test": "logs/day=1"}, "Nothing says what val is", "val"),
        (DateSplit(None, 9), "logs", "Nothing says what val is", "val"),
        (
            FileSplit(1, None),
            {name: f"logs/day={i}" for i, name in enumerate(SPLITS)},
            "Two things say what val",
            "val",
        ),
        (FileSplit(1, None), "logs", "Nothing says what test is", "test"),
    ],
)
def test_dates_and_patterns_are_of_the_splits_that_are_cut(
    days: Path, rule: SplitRule, source: Any, problem: str, where: str
) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        make(days, source, rule)
    assert caught.value.where == f"data.adapter.split.{where}"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ({"train": "logs", "valid": "logs"}, "no such split"),
        ({"test": "logs"}, "No files are given to train on"),
        ({}, "No files are given to train on"),
        ([], "names no files"),
        ({"train": "logs", "val": []}, "names no files"),
    ],
)
def test_what_names_no_files_is_refused(days: Path, source: Any, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        make(days, source)


def test_a_file_is_of_one_split(days: Path) -> None:
    with pytest.raises(DataError, match="A file is in two splits") as caught:
        make(days, {"train": "logs", "test": "logs/day=3"}).write_raw(days)
    assert "day=3" in str(caught.value.found)


@pytest.mark.parametrize("layout", ["pairs", "requests", "flat"])
@pytest.mark.parametrize("by_pattern", [True, False])
def test_a_request_is_in_the_files_of_one_split(tmp_path: Path, layout: str, by_pattern: bool) -> None:
    (tmp_path / "schema.yaml").write_text(PAIRS.replace("LAYOUT", "flat" if layout == "flat" else "requests"))
    for name, requests in (("train", [1, 2]), ("val", [3, 4]), ("test", [5, 2])):
        columns: dict[str, Any] = {"rid": requests, "item": [10, 11], "click": [0, 1]}
        if layout == "requests":
            columns |= {"item": [[10], [11]], "click": [[0], [1]]}
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
    source: Any = {name: f"{name}.parquet" for name in SPLITS}
    rule = None
    if by_pattern:
        source, rule = "*.parquet", FileSplit("val.*", "test.*")
    with pytest.raises(DataError, match=r"in the files of two splits(.|\n)*(train|test)\.parquet") as caught:
        prepare(make(tmp_path, source, rule).write_raw(tmp_path), tmp_path / "out", progress=False)
    assert "per_file" in str(caught.value.remedy)
    columns["rid"] = [5, 6]
    pq.write_table(pa.table(columns), tmp_path / "test.parquet")
    dataset = prepare(make(tmp_path, source, rule).write_raw(tmp_path), tmp_path / "out", progress=False)
    assert [sum(part.rows for part in dataset.parts(name)) for name in SPLITS] == [2, 2, 2]


@pytest.mark.parametrize("rule", [TimeSplit(0.25, 0.25), DateSplit(13, None)])
def test_files_of_lists_are_cut_by_time_beside_files_of_test(tmp_path: Path, rule: Any) -> None:
    keys = "keys: {request: rid, time: t}"
    (tmp_path / "schema.yaml").write_text(PAIRS.replace("LAYOUT", "requests").replace("keys: {request: rid}", keys))
    for name, first in (("train", 10), ("test", 0)):
        times = list(range(first, first + 4))
        columns = {"rid": times, "t": times, "item": [[1, 2]] * 4, "click": [[0, 1]] * 4}
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
    source = {"train": "train.parquet", "test": "test.parquet"}
    dataset = prepare(make(tmp_path, source, rule).write_raw(tmp_path), tmp_path / "out", progress=False)
    assert [sum(part.rows for part in dataset.parts(name)) for name in SPLITS] == [3, 1, 4]


def test_the_fingerprint_says_which_file_is_in_which_split(days: Path) -> None:
    sources: list[Any] = [
        "logs",
        ["logs/day=0", "logs/day=1"],
        ["logs/day=1", "logs/day=0"],
        {"train": ["logs/day=0", "logs/day=1"], "val": "logs/day=2", "test": "logs/day=3"},
        {"train": ["logs/day=0", "logs/day=1"], "val": "logs/day=3", "test": "logs/day=2"},
        {"train": ["logs/day=0", "logs/day=1"], "test": "logs/day=2"},
        {"train": ["logs/day=0", "logs/day=1"], "val": "logs/day=2"},
    ]
    prints = [make(days, source).fingerprint() for source in sources]
    assert len(set(prints)) == len(sources)
    assert prints == [make(days, source).fingerprint() for source in sources]
    assert make(days, {"train": "logs"}).fingerprint() == make(days, ["logs"]).fingerprint() == prints[0]


def test_several_sources_may_move_together(days: Path) -> None:
    before = make(days, ["logs/day=0", "logs/day=1"]).fingerprint()
    (days / "logs").rename(days / "moved")
    assert make(days, ["moved/day=0", "moved/day=1"]).fingerprint() == before
