"""A log is written again with a teacher's vectors of each user's past: those of earlier requests, and no others."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from distill.data.dataset import load_dataset
from distill.data.format import Dataset, field_column
from distill.schema import Kind, load_schema
from distill.signals.aligned import write_aligned
from distill.signals.provenance import HiddenVectors, Provenance, finish_signals
from tests.jobs.entry import path_arguments, run_script
from tests.jobs.test_mistakes import message_of

REQUESTS, ALL = 80, 1000
Shape = str
SHAPES = ("requests", "pairs", "flat")


def draw(seed: int = 0) -> list[dict[str, Any]]:
    """Requests of few users at few times, null users among them; every candidate has a number of its own."""
    rng = np.random.default_rng(seed)
    rows, mark = [], 0
    for number in range(REQUESTS):
        count = int(rng.integers(1, 5))
        user = int(rng.integers(0, 6))
        rows.append({
            "rid": f"r{number}",
            "uid": None if user == 0 else user,
            "at": int(rng.integers(0, 40)),
            "item": [f"i{i}" for i in rng.choice(30, count, replace=False)],
            "mark": [float(mark + i) for i in range(count)],
            "click": [None if rng.random() < 0.2 else int(rng.random() < 0.5) for _ in range(count)],
            "status": [str(rng.choice(["shown", "dropped"])) for _ in range(count)],
            "part": ("train", "val", "test")[min(2, number * 3 // REQUESTS)],
        })  # fmt: skip
        mark += count
    return rows


def as_table(rows: list[dict[str, Any]], shape: Shape) -> pa.Table:
    """The log in a shape: pairs are scattered; the id of flat rows is that of the row."""
    if shape == "requests":
        return pa.Table.from_pylist(rows)
    pairs = [
        {**row, **{name: row[name][place] for name in ("item", "mark", "click", "status")}}
        for row in rows
        for place in range(len(row["item"]))
    ]
    if shape == "flat":
        pairs = [{**row, "rid": f"row {number}"} for number, row in enumerate(pairs)]
    order = np.random.default_rng(1).permutation(len(pairs))
    return pa.Table.from_pylist([pairs[i] for i in order])


def schema(shape: Shape) -> dict[str, Any]:
    stage = {"column": "status", "values": {"shown": "exposed", "dropped": "recalled"}}
    keys = {"user": "uid", "item": "item", "time": "at", "stage": stage}
    return {
        "name": "back",
        "layout": "flat" if shape == "flat" else "requests",
        "keys": keys if shape == "flat" else {"request": "rid", **keys},
        "fields": [
            {"name": "uid", "side": "request", "kind": "id"},
            {"name": "item", "side": "candidate", "kind": "id"},
            {"name": "mark", "side": "candidate", "kind": "number", "encoding": "identity"},
        ],
        "tasks": [{"name": "click", "observed": "exposed"}],
    }


class Log:
    """A log on disk, prepared and scored: the vector of a candidate is its number, and minus that.

    Args:
        root: A folder.
        shape: Of its rows.
    """

    def __init__(self, root: Path, shape: Shape, rows: list[dict[str, Any]]) -> None:
        self.root, self.shape = root, shape
        self.table = as_table(rows, shape)
        (root / "logs").mkdir(parents=True)
        half = len(self.table) // 2
        pq.write_table(self.table.slice(0, half), root / "logs" / "a.parquet")
        pq.write_table(self.table.slice(half), root / "logs" / "b.parquet")
        (root / "schema.yaml").write_text(yaml.safe_dump(schema(shape)), encoding="utf-8")
        named = [f"data.source={root / 'logs'}", f"data.schema={root / 'schema.yaml'}"]
        rule = ["split@data.adapter.split=column", "data.adapter.split.column=part"]
        self.data = ["data=parquet", *named, *rule, *path_arguments(root)]
        run_script("scripts/prepare.py", *self.data)
        (folder,) = (root / "data").glob("back-*")
        score(load_dataset(folder), root / "signals")

    @property
    def arguments(self) -> list[str]:
        return [*self.data, f"signals={self.root / 'signals'}", f"out={self.root / 'out'}"]

    def write(self, *more: str) -> pa.Table:
        """Runs the command; returns the log that it wrote."""
        run_script("scripts/past_vectors.py", *self.arguments, *more)
        return pq.read_table(self.root / "out" / "log")


def score(dataset: Dataset, folder: Path) -> None:
    """Writes signals as the score job does."""
    nested = dataset.schema.layout == "requests"
    for part in dataset.all_parts:
        marks = pq.read_table(dataset.root / part.path)[field_column("mark")].combine_chunks()
        flat = (marks.flatten() if nested else marks).to_numpy().astype(np.float32)
        columns = {"teacher_click": flat * 0, "hidden_body": np.stack([flat, -flat], axis=1)}
        write_aligned(columns, dataset.open(part), folder / part.path, {b"a": b"b"}, nested)
    provenance = Provenance("t" * 32, dataset.fingerprint, ("click",), HiddenVectors(("body",)))
    finish_signals(folder, provenance, [part.path for part in dataset.all_parts])


@pytest.fixture
def log(tmp_path: Path) -> Callable[..., Log]:
    def make(shape: Shape, **changes: Any) -> Log:
        rows = [{**row, **{name: change(row) for name, change in changes.items()}} for row in draw()]
        return Log(tmp_path / shape, shape, rows)

    return make


def events(rows: list[dict[str, Any]], clicked: bool) -> list[tuple[Any, int, float]]:
    """User, time and number of the candidates that make the past."""
    found = []
    for row in rows:
        for mark, click, status in zip(row["mark"], row["click"], row["status"], strict=True):
            if status == "shown" and (not clicked or click == 1) and row["uid"] is not None:
                found.append((row["uid"], row["at"], mark))
    return found


def expected(row: dict[str, Any], all_events: list[tuple[Any, int, float]], delay: int) -> list[tuple[int, float]]:
    """Time and number of what was there before a request, oldest first."""
    return sorted((time, mark) for user, time, mark in all_events if user == row["uid"] and time < row["at"] - delay)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("task", "delay"), [("click", 0), ("null", 0), ("click", 7)])
def test_each_row_has_the_vectors_of_its_users_past(
    log: Callable[..., Log], shape: Shape, task: str, delay: int
) -> None:
    written = log(shape).write(f"task={task}", f"delay={delay}", f"most={ALL}", "scale=2.0", "part_rows=29")
    rows, found = draw(), written.to_pylist()
    raw = as_table(rows, shape)
    raw = raw.drop_columns("rid") if shape == "flat" else raw  # which the schema does not read
    assert written.select(raw.column_names).equals(raw)
    of_event = {mark: time for _, time, mark in events(rows, False)}
    lengths = []
    for row in found:
        vectors = row["teacher_past"]
        assert all(second == -first for first, second in vectors)
        marks = [first / 2 for first, _ in vectors]
        times = [of_event[mark] for mark in marks]
        assert times == sorted(times)
        assert sorted(zip(times, marks, strict=True)) == expected(row, events(rows, task == "click"), delay)
        lengths.append(len(vectors))
    assert min(lengths) == 0
    assert max(lengths) >= 4


def test_only_the_latest_are_kept(log: Callable[..., Log]) -> None:
    written = log("requests").write("most=3")
    of_event = {mark: time for _, time, mark in events(draw(), True)}
    for row in written.to_pylist():
        times = [of_event[first] for first, _ in row["teacher_past"]]
        assert times == [time for time, _ in expected(row, events(draw(), True), 0)][-3:]


def test_the_written_log_is_prepared_with_its_schema(log: Callable[..., Log]) -> None:
    made = log("requests")
    written = made.write("most=3")
    field = load_schema(made.root / "out" / "schema.yaml").field("teacher_past")
    assert (field.kind, field.width, field.max_length) == (Kind.VECTORS, 2, 3)
    source = [f"data.source={made.root / 'out' / 'log'}", f"data.schema={made.root / 'out' / 'schema.yaml'}"]
    given = [a for a in made.data if not a.startswith(("data.source", "data.schema"))]
    run_script("scripts/prepare.py", *given, *source, f"out={made.root / 'prepared'}")
    dataset = load_dataset(made.root / "prepared")
    tables = [pq.read_table(dataset.root / part.path) for part in dataset.all_parts]
    prepared = [vectors for table in tables for vectors in table[field_column("teacher_past")].to_pylist()]
    assert sorted(prepared) == sorted(written["teacher_past"].to_pylist())


def test_times_are_text_or_points_in_time(log: Callable[..., Log]) -> None:
    made = log("pairs", at=lambda row: f"2024-01-{1 + row['at'] // 24:02}T{row['at'] % 24:02}:00:00")
    found = made.write("delay=7h", f"most={ALL}")
    same = {row["rid"]: expected(row, events(draw(), True), 7) for row in draw()}
    for row in found.to_pylist():
        assert sorted(first for first, _ in row["teacher_past"]) == sorted(mark for _, mark in same[row["rid"]])


def test_an_interrupted_job_goes_on(log: Callable[..., Log]) -> None:
    made = log("requests")
    first = made.write("part_rows=11")
    parts = sorted((made.root / "out" / "log").iterdir())
    assert len(parts) == -(-REQUESTS // 11)
    content = {path: path.read_bytes() for path in parts}
    parts[2].unlink()
    (made.root / "out" / "schema.yaml").unlink()
    (made.root / "out" / "log" / ".part-00002.parquet.tmp").write_bytes(b"half")
    os.utime(parts[0], ns=(1, 1))
    assert made.write("part_rows=11").equals(first)
    assert {path: path.read_bytes() for path in parts} == content
    assert parts[0].stat().st_mtime_ns == 1
    assert (made.root / "out" / "schema.yaml").is_file()


def test_mistakes_are_named(log: Callable[..., Log], capsys: pytest.CaptureFixture[str]) -> None:
    made = log("requests")

    def said(*more: str) -> str:
        return message_of(capsys, "scripts/past_vectors.py", *made.arguments, *more)

    assert "vector" in said("vector=head")
    assert "expected: click" in said("task=buy")
    assert "delay" in said("delay=soon")
    assert "whole number" in said("delay=2h")
    assert "field or a column" in said("field=mark")
    assert "'wrong'" in said("keep=[wrong]")
    assert not (made.root / "out").exists()
    made.write("most=3")
    assert "other vectors of the past" in said("most=4")
    (made.root / "signals" / "train" / "part-00000.parquet").write_bytes(b"")
    assert "signal file is damaged" in said(f"out={made.root / 'again'}")


def test_a_log_without_users_or_times_has_no_past(log: Callable[..., Log], capsys: pytest.CaptureFixture[str]) -> None:
    made = log("requests", at=lambda row: None if row["rid"] == "r7" else row["at"])
    assert "A time is missing" in message_of(capsys, "scripts/past_vectors.py", *made.arguments)
