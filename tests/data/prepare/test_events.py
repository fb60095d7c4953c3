"""Labels of events: clicks and purchases in logs of their own, joined by keys and time."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.data.datasets.parquet import ParquetSource
from distill.data.format import Dataset
from distill.data.prepare import prepare
from distill.data.prepare.attribute import LastTouch
from distill.data.prepare.event_log import EventLog
from distill.data.raw import RawDataset
from distill.errors import DataError, DistillError, SchemaError
from distill.schema import Schema, dump_schema, parse_schema, save_schema
from distill.schema.plain_yaml import read_yaml
from tests.data.prepare.builders import BY_COLUMN, prepare_quietly, rows, schema_of, write

START = datetime(2024, 1, 1, tzinfo=UTC)
BY = {"by": ["user", "item"], "within": "30m"}


def at(*minutes: float) -> list[datetime]:
    return [START + timedelta(minutes=m) for m in minutes]


def _shown(**changes: Any) -> dict[str, Any]:
    """User 7 sees item 10 at 0, 20 and 60 minutes, user 8 sees items 10 and 11 at 5."""
    columns: dict[str, Any] = {
        "rid": ["r1", "r2", "r3", "r4", "r4"],
        "uid": [7, 7, 7, 8, 8],
        "item": [10, 10, 10, 10, 11],
        "price": [1.0, 2.0, 3.0, 4.0, 5.0],
        "ts": at(0, 20, 60, 5, 5),
        "part": ["train", "train", "test", "val", "val"],
    }
    return {**columns, **changes}


def _clicks(**changes: Any) -> dict[str, Any]:
    return {"uid": [7, 8, 8, None], "item": [10, 10, 12, 10], "ts": at(25, 35, 6, 6), **changes}


def _schema(events: Mapping[str, Any] = BY, **changes: Any) -> Schema:
    keys = {"request": "rid", "user": "uid", "item": "item", "time": "ts"}
    return schema_of(**{"keys": keys, "tasks": [{"name": "click", "events": dict(events)}], **changes})


def _prepared(root: Path, shown: Path, schema: Schema, memory_bytes: int = 1 << 30, **events: Path) -> Dataset:
    raw = RawDataset((shown,), schema, BY_COLUMN, events={task: (path,) for task, path in events.items()})
    return prepare(raw, root / f"out-{len(list(root.iterdir()))}", memory_bytes=memory_bytes, progress=False)


def _labels(dataset: Dataset) -> dict[float, float | None]:
    """Price, which names the candidate in these logs, to its label."""
    deviation, mean = math.sqrt(0.25), 1.5
    found = {}
    for split in ("train", "val", "test"):
        for row in rows(dataset, split):
            nested = isinstance(row["label_click"], list)
            pairs = zip(row["field_price"], row["label_click"], strict=True) if nested else [
                (row["field_price"], row["label_click"])
            ]  # fmt: skip
            found |= {round(p * deviation + mean): None if math.isnan(label) else label for p, label in pairs}
    return found


def test_an_event_goes_to_the_last_candidate_before_it(tmp_path: Path) -> None:
    shown, clicks = write(tmp_path / "shown.parquet", _shown()), write(tmp_path / "clicks.parquet", _clicks())
    dataset = _prepared(tmp_path, shown, _schema(), click=clicks)
    # 25: not to the candidate of minute 0, which is near enough too; 35: 30 minutes after 5.
    assert _labels(dataset) == {1: 0, 2: 1, 3: 0, 4: 1, 5: 0}
    counts = dataset.manifest.counts
    assert [counts[f"events_{name}/click"] for name in ("read", "attributed", "without_key")] == [3, 2, 1]
    assert dataset.manifest.source["files"][1]["name"] == "clicks.parquet"


def test_all_shapes_of_rows_and_files_give_the_same(tmp_path: Path) -> None:
    clicks = write(tmp_path / "clicks.parquet", _clicks())
    flat = _shown()
    nested = {name: [values[0], values[1], values[2], values[3]] for name, values in flat.items()}
    nested |= {name: [[v] for v in flat[name][:3]] + [flat[name][3:]] for name in ("item", "price")}
    expected = {1: 0, 2: 1, 3: 0, 4: 1, 5: 0}
    schema = _schema()
    assert _labels(_prepared(tmp_path, write(tmp_path / "nested.parquet", nested), schema, click=clicks)) == expected
    raw = write(tmp_path / "flat.parquet", flat)
    assert _labels(_prepared(tmp_path, raw, _schema(layout="flat"), click=clicks)) == expected
    order = [4, 2, 0, 3, 1]
    scattered = write(tmp_path / "scattered.parquet", {name: [v[i] for i in order] for name, v in flat.items()})
    assert _labels(_prepared(tmp_path, scattered, schema, memory_bytes=4096, click=clicks)) == expected
    pa_csv.write_csv(pa.table(flat), tmp_path / "shown.csv")
    pa_csv.write_csv(pa.table(_clicks()), tmp_path / "clicks.csv")
    assert _labels(_prepared(tmp_path, tmp_path / "shown.csv", schema, click=tmp_path / "clicks.csv")) == expected


def test_windows_that_are_not_over_are_unobserved_if_asked_for(tmp_path: Path) -> None:
    shown, clicks = write(tmp_path / "shown.parquet", _shown()), write(tmp_path / "clicks.parquet", _clicks())
    schema = _schema({**BY, "unfinished": "unobserved"})
    dataset = _prepared(tmp_path, shown, schema, click=clicks)
    # The log ends at 35: the window of minute 5 is over then, those of 20 and 60 are not.
    assert _labels(dataset) == {1: 0, 2: 1, 3: None, 4: 1, 5: 0}
    assert dataset.manifest.counts["null_labels/test/click"] == 1


def test_a_window_that_ends_with_the_log_is_over(tmp_path: Path) -> None:
    shown = write(tmp_path / "shown.parquet", _shown())
    clicks = write(tmp_path / "clicks.parquet", _clicks(ts=at(25, 50, 6, 6)))  # 30 minutes after the one of minute 20
    labels = _labels(_prepared(tmp_path, shown, _schema({**BY, "unfinished": "unobserved"}), click=clicks))
    assert labels == {1: 0, 2: 1, 3: None, 4: 0, 5: 0}
    without = write(tmp_path / "no_20.parquet", _clicks(ts=at(2, 50, 6, 6)))
    assert _labels(_prepared(tmp_path, shown, _schema({**BY, "unfinished": "unobserved"}), click=without))[2] == 0


def test_a_log_without_events_says_nothing_if_unfinished_is_unobserved(tmp_path: Path) -> None:
    shown = write(tmp_path / "shown.parquet", _shown())
    nothing = tmp_path / "nothing.parquet"
    pq.write_table(pa.table(_clicks()).slice(0, 0), nothing)
    labels = _labels(_prepared(tmp_path, shown, _schema({**BY, "unfinished": "unobserved"}), click=nothing))
    assert set(labels.values()) == {None}
    assert set(_labels(_prepared(tmp_path, shown, _schema(), click=nothing)).values()) == {0}


def test_several_tasks_with_columns_and_numbers_of_their_own(tmp_path: Path) -> None:
    shown = write(tmp_path / "shown.parquet", _shown(ts=[0, 20, 60, 5, 5]))
    clicks = write(tmp_path / "clicks.parquet", {"rid": ["r2", "r4"], "sku": [10, 11], "when": [20, 4]})
    buys = write(tmp_path / "buys.parquet", {"buyer": [7], "item": [10], "ts": [90]})
    tasks = [
        {"name": "click", "events": {"by": {"request": None, "item": "sku"}, "within": 0, "time": "when"}},
        {"name": "buy", "events": {"by": {"user": "buyer", "item": None}, "within": 30}, "observed": "all"},
    ]
    dataset = _prepared(tmp_path, shown, _schema(tasks=tasks), click=clicks, buy=buys)
    assert _labels(dataset) == {1: 0, 2: 1, 3: 0, 4: 0, 5: 0}  # the click of r4 was before it was shown
    assert rows(dataset, "test")[0]["label_buy"] == [1]


def test_types_of_both_logs_are_declared(tmp_path: Path) -> None:
    shown = write(tmp_path / "shown.parquet", _shown())
    clicks = write(tmp_path / "clicks.parquet", {"buyer": ["7", "8"], "item": [10, 10], "ts": at(25, 35)})
    events = {**BY, "by": {"user": "buyer", "item": None}}
    schema = _schema(events, raw={"columns": {"buyer": "text", "uid": "text"}})
    assert _labels(_prepared(tmp_path, shown, schema, click=clicks)) == {1: 0, 2: 1, 3: 0, 4: 1, 5: 0}


@pytest.mark.parametrize(
    ("events", "clicks", "match"),
    [
        (
            BY,
            {"uid": ["7"] * 4},
            r"clicks\.parquet, column 'uid'(.|\n)*numbers, as in .*shown.*column 'uid'(.|\n)*text",
        ),
        (BY, {"ts": [1, 2, 3, 4]}, r"does not suit(.|\n)*clicks\.parquet, column 'ts'(.|\n)*timestamps(.|\n)*30m"),
        ({**BY, "within": 30}, {}, r"does not suit(.|\n)*clicks\.parquet, column 'ts'(.|\n)*whole numbers"),
        (BY, {"ts": [START, None, START, START]}, r"row 1, column 'ts' \(events of task 'click', time\)(.|\n)*null"),
        ({**BY, "time": "when"}, {}, r"missing(.|\n)*clicks\.parquet, column 'when' \(events of task 'click', time\)"),
        (BY, {"item": [[1]] * 4}, r"clicks\.parquet, column 'item' \(events of task 'click', item\)(.|\n)*list of int"),
    ],
)
def test_logs_that_do_not_fit_are_named(
    tmp_path: Path, events: dict[str, Any], clicks: dict[str, Any], match: str
) -> None:
    shown, log = write(tmp_path / "shown.parquet", _shown()), write(tmp_path / "clicks.parquet", _clicks(**clicks))
    with pytest.raises(DataError, match=match):
        _prepared(tmp_path, shown, _schema(events), click=log)


def test_events_that_do_not_fit_into_memory_are_refused(tmp_path: Path) -> None:
    shown, clicks = write(tmp_path / "shown.parquet", _shown()), write(tmp_path / "clicks.parquet", _clicks())
    with pytest.raises(DataError, match=r"into memory(.|\n)*at most 2 events(.|\n)*4 events(.|\n)*memory_bytes=512"):
        _prepared(tmp_path, shown, _schema(), memory_bytes=300, click=clicks)


def test_tasks_and_files_belong_together(tmp_path: Path) -> None:
    shown, clicks = write(tmp_path / "shown.parquet", _shown()), write(tmp_path / "clicks.parquet", _clicks())
    with pytest.raises(
        SchemaError, match=r"No files are given for the events of task 'click'(.|\n)*data.events={click: FILES}"
    ):
        prepare_quietly(shown, tmp_path / "out", _schema())
    with pytest.raises(SchemaError, match=r"given for 'like'"):
        _prepared(tmp_path, shown, _schema(), click=clicks, like=clicks)


@pytest.mark.parametrize(
    ("task", "changes", "match"),
    [
        ({"events": {"by": ["user"], "within": "30m"}}, {}, "must name item"),
        ({"events": {"by": ["user", "item"], "within": "30 minutes"}}, {}, "such as 30m"),
        ({"events": {"by": ["user", "item"], "within": -1}}, {}, "a whole number from 0 on"),
        ({"events": {"by": [], "within": 1}}, {}, "at least one"),
        ({"events": {"by": ["session"], "within": 1}}, {}, "'request', 'user' or 'item'"),
        ({"events": {**BY}}, {"keys": {"request": "rid", "user": "uid", "item": "item"}}, "needs `keys.time`"),
        ({"events": {**BY}, "column": "click"}, {}, "one of the three"),
        ({"events": {**BY}, "kind": "value"}, {}, "leave `kind`"),
        ({"events": {**BY, "witin": 1}}, {}, "Did you mean 'within'"),
    ],
)
def test_schemas_that_cannot_be(task: dict[str, Any], changes: dict[str, Any], match: str) -> None:
    with pytest.raises(SchemaError, match=match):
        _schema(tasks=[{"name": "click", **task}], **changes)


def test_the_schema_is_written_as_it_is_read() -> None:
    schema = _schema({**BY, "unfinished": "unobserved"})
    assert parse_schema(read_yaml(dump_schema(schema)), "test") == schema
    assert "events" not in schema_of().model_dump(mode="json")["tasks"][0]


def test_the_source_knows_its_events(tmp_path: Path) -> None:
    (tmp_path / "clicks").mkdir()
    shown = write(tmp_path / "shown.parquet", _shown())
    write(tmp_path / "clicks" / "a.parquet", _clicks())
    save_schema(_schema(), tmp_path / "schema.yaml")
    source = ParquetSource(
        str(shown), str(tmp_path / "schema.yaml"), BY_COLUMN, events={"click": str(tmp_path / "clicks")}
    )
    dataset = prepare(source.write_raw(tmp_path), tmp_path / "out", progress=False)
    assert _labels(dataset)[2] == 1
    before = source.fingerprint()
    write(tmp_path / "clicks" / "a.parquet", _clicks(ts=at(26, 35, 6, 6)))
    assert source.fingerprint() != before
    lost = ParquetSource(
        str(shown), str(tmp_path / "schema.yaml"), BY_COLUMN, events={"click": str(tmp_path / "none*")}
    )
    with pytest.raises(DistillError, match=r"no files of events(.|\n)*data.events(.|\n)*for click"):
        lost.fingerprint()


ROWS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12)), max_size=12)


@given(ROWS, ROWS, st.integers(0, 5), st.integers(1, 5))
@settings(max_examples=400, deadline=None)
def test_attribution_is_that_of_a_loop(
    shown: list[tuple[int, int]], events: list[tuple[int, int]], window: int, batch: int
) -> None:
    log = sorted(events)
    columns = np.array(log, np.int64).reshape(-1, 2)
    of_all = EventLog(columns[:, 0], columns[:, 1], 0)
    best, apart = LastTouch(of_all, window), LastTouch(of_all, window)
    candidates = np.array(shown, np.int64).reshape(-1, 2)
    for begin in range(0, len(shown), batch):
        part = candidates[begin : begin + batch]
        alone = LastTouch(of_all, window)
        for of_part in (best, alone):
            of_part.add(part[:, 0], part[:, 1], np.arange(begin, begin + len(part)))
        apart.take(alone.touched())
    expected = {}
    for event, (key, time) in enumerate(log):
        near = [(t, i) for i, (k, t) in enumerate(shown) if k == key and 0 <= time - t <= window]
        if near:
            expected[event] = max(near)[1]
    for found in (best.touched(), apart.touched()):
        assert dict(zip(found.event.tolist(), found.position.tolist(), strict=True)) == expected
