"""Valid raw data of every shape, drawn from a seed: a schema, the table it describes and a split rule."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pyarrow as pa

from distill.data.split import ColumnSplit, RandomSplit, SplitRule, TimeSplit, UserTimeSplit

SHAPES = ("flat", "pairs", "requests")
RULES: tuple[SplitRule, ...] = (RandomSplit(0.3, 0.3), TimeSplit(0.25, 0.25), UserTimeSplit(0.4, 0.3))
WORDS = ["a", "b", "", "é", "日本", "a b", "a,b", 'q"q', "NULL", "0", "🎯", "x" * 70]
STAGES = ["recalled", "preranked", "ranked", "exposed"]


@dataclass
class Case:
    """Raw data and what was done to it.

    Attributes:
        shape: flat, pairs or requests.
        schema: As in a `schema.yaml`.
        tables: Raw files.
        split: The rule.
        items: The catalogue.
        notes: Mutations, for the report of a failure.
        damaged: Whether bytes of the files differ from what the tables say.
    """

    shape: str
    schema: dict[str, Any]
    tables: list[pa.Table]
    split: SplitRule
    items: pa.Table | None = None
    notes: list[str] = field(default_factory=list)
    damaged: bool = False


def make_case(rng: random.Random) -> Case:
    """Draws a valid case; only a split that the rule leaves empty can be wrong with it."""
    shape = rng.choice(SHAPES)
    split: SplitRule = ColumnSplit("part") if rng.random() < 0.75 else rng.choice(RULES)
    counts = _candidate_counts(rng, shape)
    schema = _schema(rng, shape)
    columns = {**_request_columns(rng, schema, len(counts)), "part": _parts(rng, len(counts))}
    rows = [[value(rng) for value in (*_candidate_values(schema).values(),)] for _ in range(sum(counts))]
    names = list(_candidate_values(schema))
    per_candidate = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    table = _table(shape, counts, columns, per_candidate)
    items = _items(rng, schema) if rng.random() < 0.25 and schema["keys"].get("item") else None
    pieces = rng.choice([1, 1, 1, 2, 3])
    cuts = sorted(rng.randint(0, len(table)) for _ in range(pieces - 1))
    tables = [table.slice(a, b - a) for a, b in zip([0, *cuts], [*cuts, len(table)], strict=True)]
    return Case(shape, schema, tables, split, items)


def _candidate_counts(rng: random.Random, shape: str) -> list[int]:
    if shape == "flat":
        return [1] * rng.randint(8, 30)
    least = 1 if shape == "pairs" else 0
    return [rng.randint(least, 4) for _ in range(rng.randint(8, 14))]


def _parts(rng: random.Random, requests: int) -> list[str]:
    parts = ["train", "train", "train", "val", "test"]
    drawn = parts[2:] + [rng.choice(parts) for _ in range(requests - 3)]
    rng.shuffle(drawn)
    return drawn


def _schema(rng: random.Random, shape: str) -> dict[str, Any]:
    keys: dict[str, Any] = {"time": "time", "user": "user"}
    if shape == "pairs" or rng.random() < 0.5:
        keys["request"] = "rid"
    if rng.random() < 0.6:
        keys["item"] = "item"
    tasks: list[dict[str, Any]] = [{"name": "click"}]
    if rng.random() < 0.5:
        keys["stage"] = "stage"
        tasks[0]["observed"] = rng.choice(["all", "exposed"])
    if rng.random() < 0.4:
        tasks.append({"name": "grade", "kind": "graded", "observed": rng.choice(["all", "click"])})
    if rng.random() < 0.3:
        tasks.append({"name": "amount", "kind": "value", "weight": 0.5})
    schema: dict[str, Any] = {
        "name": "fuzz",
        "layout": "flat" if shape == "flat" else "requests",
        "keys": keys,
        "fields": _fields(rng),
        "tasks": tasks,
    }
    if rng.random() < 0.3:
        schema["score"] = {"tasks": {"click": 1.0}, "columns": {"bid": 0.5}}
    if rng.random() < 0.3:
        schema["evaluation"] = ["utility"]
    if rng.random() < 0.3:
        schema["teacher"] = {"columns": {"click": "prob"}, "kind": "probability"}
    return schema


def _fields(rng: random.Random) -> list[dict[str, Any]]:
    fields = [
        {"name": "uid", "column": "user", "side": "request", "kind": "id"},
        {"name": "word", "side": "candidate", "kind": "id", "encoding": _ids(rng)},
        {
            "name": "code",
            "side": "cross",
            "kind": "id",
            "encoding": rng.choice([_ids(rng), {"type": "ids", "size": 7}]),
        },
        {"name": "age", "side": "request", "kind": "number", "encoding": _numbers(rng)},
        {"name": "price", "side": "candidate", "kind": "number", "encoding": _numbers(rng), "nan": "missing"},
        {"name": "bucket", "side": "candidate", "kind": "number", "encoding": {"type": "quantile", "buckets": 4}},
        {"name": "past", "side": "request", "kind": "sequence", "max_length": rng.choice([1, 3, 100])},
        {"name": "tags", "side": "candidate", "kind": "sequence"},
        {"name": "face", "side": "request", "kind": "vector", "width": 2, "nan": "missing"},
        {"name": "image", "side": "cross", "kind": "vector", "width": 2, "nan": "missing"},
        {"name": "item_id", "column": "item", "side": "candidate", "kind": "id", "table": "items"},
    ]
    return rng.sample(fields, rng.randint(1, 6))


def _ids(rng: random.Random) -> dict[str, Any]:
    return rng.choice(
        [
            {"type": "vocabulary"},
            {"type": "vocabulary", "min_count": 2},
            {"type": "vocabulary", "max_size": 2},
            {"type": "hash", "buckets": 5},
        ]
    )


def _numbers(rng: random.Random) -> dict[str, Any]:
    return rng.choice(
        [{"type": "identity"}, {"type": "standardise"}, {"type": "log"}, {"type": "log", "standardise": False}]
    )


def _maybe(rng: random.Random, value: Any, share: float = 0.1) -> Any:
    return None if rng.random() < share else value


def _request_columns(rng: random.Random, schema: dict[str, Any], requests: int) -> dict[str, list[Any]]:
    """Every request-side column that a schema may name, whether it does or not."""
    text = rng.random() < 0.5
    n = range(requests)
    return {
        "rid": [f"r{i}" if text else 10 * i - 30 for i in n],
        "user": [_maybe(rng, rng.randint(-3, 3)) for _ in n],
        "time": [rng.randint(0, 10**9) for _ in n],
        "age": [_maybe(rng, rng.choice([0.0, -1.5, 3.25, 40.0])) for _ in n],
        "past": [_maybe(rng, [_maybe(rng, rng.choice(WORDS)) for _ in range(rng.randint(0, 5))]) for _ in n],
        "face": [_maybe(rng, [rng.choice([0.5, -2.0]), _maybe(rng, 1.0)]) for _ in n],
    }


def _candidate_values(schema: dict[str, Any]) -> dict[str, Callable[[random.Random], Any]]:
    """Every candidate column that a schema may name, and how a value of it is drawn."""
    return {
        "item": lambda rng: rng.randint(100, 110),
        "word": lambda rng: _maybe(rng, rng.choice(WORDS)),
        "code": lambda rng: _maybe(rng, rng.randint(-1, 8)),
        "price": lambda rng: _maybe(rng, rng.choice([0.0, 1.0, -2.5, 1e6])),
        "bucket": lambda rng: _maybe(rng, rng.randint(0, 20)),
        "tags": lambda rng: _maybe(rng, [rng.randint(0, 4) for _ in range(rng.randint(0, 3))]),
        "image": lambda rng: _maybe(rng, [rng.choice([0.5, -2.0]), 1.0]),
        "stage": lambda rng: rng.choice(STAGES),
        "click": lambda rng: _maybe(rng, rng.randint(0, 1)),
        "grade": lambda rng: _maybe(rng, rng.randint(0, 3)),
        "amount": lambda rng: _maybe(rng, rng.choice([0.0, 9.5])),
        "bid": lambda rng: rng.choice([0.5, 2.0]),
        "utility": lambda rng: _maybe(rng, rng.choice([0.5, 2.0])),
        "prob": lambda rng: _maybe(rng, rng.choice([0.0, 0.25, 1.0])),
    }


_TYPES = {
    "past": pa.list_(pa.string()),
    "face": pa.list_(pa.float32()),
    "tags": pa.list_(pa.int64()),
    "image": pa.list_(pa.float64()),
    "word": pa.string(),
    "stage": pa.string(),
    "part": pa.string(),
}
_FLOATS = {"age", "price", "amount", "bid", "utility", "prob"}


def _type(name: str, values: list[Any]) -> pa.DataType:
    if name == "rid":
        return pa.string() if isinstance(values[0], str) else pa.int64()
    return _TYPES.get(name) or (pa.float64() if name in _FLOATS else pa.int64())


def _table(shape: str, counts: list[int], request: dict[str, list[Any]], candidate: dict[str, list[Any]]) -> pa.Table:
    if shape == "requests":
        arrays = {name: pa.array(values, _type(name, values)) for name, values in request.items()}
        ends = [sum(counts[:i]) for i in range(len(counts) + 1)]
        for name, values in candidate.items():
            lists = [values[a:b] for a, b in pairwise(ends)]
            arrays[name] = pa.array(lists, pa.list_(_type(name, values)))
        return pa.table(arrays)
    owner = [i for i, count in enumerate(counts) for _ in range(count)]
    spread = {name: [values[i] for i in owner] for name, values in request.items()}
    return pa.table({name: pa.array(values, _type(name, values)) for name, values in {**spread, **candidate}.items()})


def _items(rng: random.Random, schema: dict[str, Any]) -> pa.Table:
    values = _candidate_values(schema)
    size = rng.randint(0, 12)
    columns: dict[str, list[Any]] = {"item": [100 + i for i in range(size)]}
    for name in ("word", "code", "price", "bucket", "tags", "image"):
        columns[name] = [values[name](rng) for _ in range(size)]
    return pa.table({name: pa.array(column, _type(name, column)) for name, column in columns.items()})
