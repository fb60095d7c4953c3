"""What preparation says that it read."""

from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.data.contents import FieldNumbers, FilesRead, LabelNumbers, SplitContents, TimeRange
from distill.data.format import SPLITS
from distill.data.split import RandomSplit
from tests.data.prepare.builders import pairs, prepare_quietly, schema_of, write


def test_labels_are_counted_by_split(tmp_path: Path) -> None:
    tasks = [{"name": "click"}, {"name": "grade", "kind": "graded"}, {"name": "seconds", "kind": "value"}]
    columns = pairs(
        click=[1, 0, 0, None, 0, 0, None], grade=[0, 4, 2, None, None, 0, 3], seconds=[-1.0, 2.5, None, 0.0, 0.5, 7, 8]
    )
    dataset = prepare_quietly(write(tmp_path / "a.parquet", columns), tmp_path / "out", schema_of(tasks=tasks))
    assert dataset.manifest.contents is not None
    found = {split: dataset.manifest.contents.splits[split].labels for split in SPLITS}
    assert [found[split]["click"] for split in SPLITS] == [
        LabelNumbers(candidates=5, labelled=4, positive=1, low=0.0, mean=0.25, high=1.0),
        LabelNumbers(candidates=1, labelled=1, positive=0, low=0.0, mean=0.0, high=0.0),
        LabelNumbers(candidates=1),
    ]
    assert found["train"]["grade"] == LabelNumbers(candidates=5, labelled=3, positive=2, low=0.0, mean=2.0, high=4.0)
    assert found["train"]["seconds"] == LabelNumbers(candidates=5, labelled=4, positive=2, low=-1.0, mean=0.5, high=2.5)


def survey(tmp_path: Path, columns: dict[str, Any], **schema: Any) -> dict[str, SplitContents]:
    contents = prepare_quietly(
        write(tmp_path / "a.parquet", columns), tmp_path / "out", schema_of(**schema)
    ).manifest.contents
    assert contents is not None
    return contents.splits


def test_fields_are_counted_by_split(tmp_path: Path) -> None:
    fields = [
        {"name": "uid", "side": "request", "kind": "id"},
        {"name": "item", "side": "candidate", "kind": "id", "encoding": {"type": "vocabulary", "min_count": 2}},
        {"name": "price", "side": "candidate", "kind": "number"},
        {"name": "past", "side": "request", "kind": "sequence", "encoding": {"type": "ids", "size": 10}},
        {"name": "shape", "side": "cross", "kind": "vector", "width": 2},
        {"name": "same", "side": "cross", "kind": "number", "encoding": "identity"},
    ]
    columns = pairs(
        uid=[None, None, 8, 8, 8, 9, 7],
        item=[10, 11, 10, None, 12, 11, 10],
        price=[1.0, None, 1.0, 1.0, 1.0, 2.0, 2.0],
        past=[[1, 99], [1, 99], None, None, None, [3, None, 4], []],
        shape=[[1, 2], None, [0, 0], [0, 0], [0, 0], [1, 1], [1, 1]],
        same=[5.0] * 7,
    )
    found = survey(tmp_path, columns, fields=fields, layout="flat")
    train = found["train"].fields
    assert train["uid"] == FieldNumbers(rows=5, missing=2, values=3)
    assert train["item"] == FieldNumbers(rows=5, missing=1, values=4, unknown=2)
    assert train["price"].constant  # a missing number becomes the mean
    assert train["price"].missing == 1
    assert train["past"] == FieldNumbers(rows=5, missing=3, values=4, unknown=2)
    assert train["shape"] == FieldNumbers(rows=5, missing=1, values=4)
    assert train["same"] == FieldNumbers(rows=5, values=5, constant=True)
    assert found["val"].fields["uid"] == FieldNumbers(rows=1, values=1, unknown=1)
    assert found["val"].fields["past"] == FieldNumbers(rows=1, missing=1, values=2)
    assert found["test"].fields["past"] == FieldNumbers(rows=1)
    assert found["test"].fields["item"] == FieldNumbers(rows=1, values=1)


def as_lists(columns: dict[str, Any], *names: str) -> dict[str, Any]:
    """The rows of `pairs` as one row per request."""
    starts, ends = [0, 2, 5, 6], [2, 5, 6, 7]
    return {
        name: [values[a:b] if name in names else values[a] for a, b in zip(starts, ends, strict=True)]
        for name, values in columns.items()
    }


@pytest.mark.parametrize("shape", ["pairs", "requests"])
def test_rows_and_missing_keys_are_counted_by_split(tmp_path: Path, shape: str) -> None:
    columns = pairs(uid=[None, None, 8, 8, 8, 9, 7], item=[None, 11, 10, None, 12, 11, 10])
    if shape == "requests":
        columns = as_lists(columns, "item", "price", "click")
        columns = {name: [*values, values[0]] for name, values in columns.items()}
        columns.update({name: [*columns[name][:4], []] for name in ("item", "price", "click")}, rid=[1, 2, 3, 4, 5])
    found = survey(tmp_path, columns)
    train = found["train"]
    extra = int(shape == "requests")
    assert (train.rows, train.requests, train.candidates) == ((3, 3, 5) if extra else (5, 2, 5))
    assert (train.without_candidates, train.without_user, train.without_item) == (extra, 1 + extra, 2)
    assert train.fields["uid"].rows == 2 + extra
    assert [found[split].rows for split in ("val", "test")] == [1, 1]


TIMES: dict[str, tuple[list[Any], list[str]]] = {
    "int": ([5, 5, 3, 3, 3, -7, 9], ["3", "5", "-7", "-7", "9", "9"]),
    "float": ([5.5, 5.5, -3.25, -3.25, -3.25, 0.0, 9.0], ["-3.25", "5.5", "0.0", "0.0", "9.0", "9.0"]),
    "timestamp": (
        [datetime(2024, 1, day, 12) for day in (2, 2, 1, 1, 1, 3, 4)],
        [f"2024-01-0{day} 12:00:00" for day in (1, 2, 3, 3, 4, 4)],
    ),
    "date": (
        [date(1969, 12, day) for day in (30, 30, 29, 29, 29, 31, 31)],
        [f"1969-12-{day} 00:00:00" for day in (29, 30, 31, 31, 31, 31)],
    ),
    "text": (
        [f"2024-01-0{day}T00:00:00" for day in (2, 2, 1, 1, 1, 3, 4)],
        [f"2024-01-0{day} 00:00:00" for day in (1, 2, 3, 3, 4, 4)],
    ),
}


@pytest.mark.parametrize("kind", TIMES)
@pytest.mark.parametrize("shape", ["pairs", "requests", "flat"])
def test_times_are_written_as_they_were(tmp_path: Path, kind: str, shape: str) -> None:
    values, expected = TIMES[kind]
    columns = pairs(ts=values)
    if shape == "requests":
        columns = as_lists(columns, "item", "price", "click")
    layout = "flat" if shape == "flat" else "requests"
    found = survey(tmp_path, columns, layout=layout, keys={"request": "rid", "item": "item", "time": "ts"})
    ranges = [found[split].time for split in SPLITS]
    assert [[r.first, r.last] for r in ranges if r] == [expected[0:2], expected[2:4], expected[4:6]]


def test_times_that_no_rule_needs_may_differ_be_missing_or_be_none(tmp_path: Path) -> None:
    keys = {"request": "rid", "item": "item", "time": "ts"}
    (tmp_path / "b").mkdir()
    found = survey(tmp_path, pairs(ts=[1, 4, None, 3, 9, None, 7]), keys=keys)
    assert found["train"].time == TimeRange(first="1", last="9", missing=1)
    assert found["val"].time == TimeRange(missing=1)
    words = survey(tmp_path / "b", pairs(ts=["x", "y", None, "z", "z", None, "soon"]), keys=keys)
    assert words["train"].time == TimeRange(missing=1, unreadable=True)
    assert words["val"].time == TimeRange(missing=1)


def test_files_are_named_and_summed(tmp_path: Path) -> None:
    columns = pairs()
    paths = tuple(
        write(tmp_path / f"{row:02}.parquet", {name: [values[row % 7]] for name, values in columns.items()})
        for row in range(22)
    )
    contents = prepare_quietly(paths, tmp_path / "out").manifest.contents
    assert contents is not None
    size = sum(path.stat().st_size for path in paths)
    names = tuple(f"{row:02}.parquet" for row in range(20))
    assert contents.files == FilesRead(count=22, rows=22, bytes=size, names=names)


@pytest.mark.parametrize("layout", ["requests", "flat"])
def test_how_rows_arrive_changes_nothing(tmp_path: Path, layout: str) -> None:
    draw = np.random.default_rng(1)
    n = 3000
    request = np.sort(draw.integers(0, 200, n)) if layout == "flat" else draw.integers(0, 200, n)
    table = pa.table(
        {
            "rid": request,
            "uid": pa.array(request % 13, mask=request % 13 == 0),
            "item": draw.integers(0, 500, n),
            "price": pa.array(draw.normal(size=n), mask=draw.random(n) < 0.1),
            "click": pa.array(draw.integers(0, 2, n), mask=draw.random(n) < 0.2),
            "seconds": draw.normal(size=n),
            "ts": request % 17,
        }
    )
    tasks = [{"name": "click"}, {"name": "seconds", "kind": "value"}]
    schema = schema_of(layout=layout, tasks=tasks, keys={"request": "rid", "user": "uid", "item": "item", "time": "ts"})
    found = []
    for name, cuts, memory in (("a", [0, n], 1 << 30), ("b", [0, 100, 1700, n], 1 << 30), ("c", [0, 2500, n], 1 << 14)):
        (tmp_path / name).mkdir()
        paths = tuple(tmp_path / name / f"{start}.parquet" for start in cuts[:-1])
        for path, start, end in zip(paths, cuts[:-1], cuts[1:], strict=True):
            pq.write_table(table.slice(start, end - start), path, row_group_size=333)
        dataset = prepare_quietly(paths, tmp_path / name / "out", schema, RandomSplit(), memory_bytes=memory)
        assert dataset.manifest.contents is not None
        found.append(dataset.manifest.contents.splits)
    assert found[0] == found[1] == found[2]
    assert sum(split.rows for split in found[0].values()) == n
