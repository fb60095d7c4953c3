"""Raw logs with a field of every kind and encoding, nulls and empty lists; a new day has values nobody has seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

SCHEMA: dict[str, Any] = {
    "name": "kinds",
    "layout": "requests",
    "keys": {"request": "search", "item": "item"},
    "fields": [
        {"name": "user", "side": "request", "kind": "id"},
        {"name": "city", "side": "request", "kind": "id", "encoding": {"type": "ids", "size": 6}},
        {"name": "past", "side": "request", "kind": "sequence", "table": "item", "max_length": 4},
        {"name": "words", "side": "request", "kind": "sequence", "encoding": {"type": "hash", "buckets": 32}},
        {"name": "taste", "side": "request", "kind": "vector", "width": 3},
        {"name": "age", "side": "request", "kind": "number", "nan": "missing"},
        {"name": "years", "side": "request", "kind": "number", "column": "age", "nan": "missing",
         "encoding": {"type": "autodis", "buckets": 3}},
        {"name": "item", "side": "candidate", "kind": "id"},
        {"name": "brand", "side": "candidate", "kind": "id", "encoding": {"type": "hash", "buckets": 16}},
        {"name": "price", "side": "candidate", "kind": "number", "encoding": "log"},
        {"name": "band", "side": "candidate", "kind": "number", "column": "price",
         "encoding": {"type": "quantile", "buckets": 4}},
        {"name": "tags", "side": "candidate", "kind": "sequence", "encoding": {"type": "ids", "size": 9}},
        {"name": "image", "side": "candidate", "kind": "vector", "width": 4},
        {"name": "stock", "side": "candidate", "kind": "number", "encoding": "identity"},
        {"name": "cost", "side": "candidate", "kind": "number", "column": "price",
         "encoding": {"type": "piecewise_linear", "bins": 4}},
        {"name": "match", "side": "cross", "kind": "number"},
        {"name": "reason", "side": "cross", "kind": "id"},
        {"name": "dwell", "side": "cross", "kind": "number", "privileged": True},
        {"name": "stay", "side": "cross", "kind": "number", "column": "dwell", "privileged": True,
         "encoding": {"type": "piecewise_linear", "bins": 3}},
    ],
    "tasks": [{"name": "click"}, {"name": "buy"}, {"name": "stars", "kind": "value"}],
    "score": {"tasks": {"click": 1.0, "buy": 2.0}, "columns": {"bid": 0.5}},
}  # fmt: skip
FELT = {"name": "felt", "side": "request", "kind": "vectors", "width": 2, "max_length": 3}
LABELS = ("click", "buy", "stars")


def draw_log(seed: int, requests: int = 40, new: bool = False) -> pa.Table:
    """One row per request.

    Args:
        seed: Of the draws.
        requests: Rows.
        new: Whether there are users, items and reasons that a log drawn without it does not have.
    """
    rng = np.random.default_rng(seed)
    shift = 15 if new else 0
    rows: dict[str, list[Any]] = {n: [] for n in ("search", "user", "city", "past", "words", "taste", "felt", "age")}
    names = ("item", "brand", "price", "tags", "image", "stock", "match", "reason", "dwell", "bid", *LABELS)
    lists: dict[str, list[Any]] = {name: [] for name in names}

    def null(value: Any, share: float = 0.15) -> Any:
        return None if rng.random() < share else value

    for request in range(requests):
        count = int(rng.integers(1, 9))
        rows["search"].append(f"q{seed}-{request}")
        rows["user"].append(null(int(rng.integers(shift, shift + 20))))
        rows["city"].append(null(int(rng.integers(0, 9))))
        rows["past"].append(null([null(f"i{rng.integers(shift, shift + 30)}") for _ in range(rng.integers(0, 7))]))
        rows["words"].append(null([f"w{rng.integers(0, 99)}" for _ in range(rng.integers(0, 5))]))
        rows["taste"].append(null(rng.normal(size=3).tolist()))
        rows["age"].append(null(float("nan") if rng.random() < 0.1 else float(rng.normal(40, 9))))
        items = rng.choice(np.arange(shift, shift + 30), count, replace=False)
        lists["item"].append([f"i{i}" for i in items])
        lists["brand"].append([null(int(i) % 7 + 2**62) for i in items])
        lists["price"].append([null(float(i**2)) for i in items])
        lists["tags"].append([null([int(t) for t in rng.integers(0, 9, rng.integers(0, 4))]) for _ in items])
        lists["image"].append([null([float(i), 1.0, -1.0, 0.5]) for i in items])
        lists["stock"].append([null(float(rng.normal())) for _ in items])
        lists["match"].append([null(float(rng.normal())) for _ in items])
        lists["reason"].append([null(f"r{rng.integers(shift // 5, shift // 5 + 4)}") for _ in items])
        lists["dwell"].append(rng.random(count).tolist())
        lists["bid"].append(rng.uniform(0.1, 3.0, count).tolist())
        lists["click"].append(rng.integers(0, 2, count).tolist())
        lists["buy"].append(rng.integers(0, 2, count).tolist())
        lists["stars"].append(rng.normal(size=count).tolist())
    rows["felt"] = _vector_lists(np.random.default_rng((seed, 1)), requests)
    return pa.table({**rows, **lists})


def _vector_lists(rng: np.random.Generator, rows: int) -> list[list[list[float] | None] | None]:
    """Lists of up to 5 vectors of 2; some lists and some vectors are null."""
    lists = [[rng.normal(size=2).tolist() for _ in range(rng.integers(0, 6))] for _ in range(rows)]
    return [
        None if rng.random() < 0.15 else [None if rng.random() < 0.15 else vector for vector in row] for row in lists
    ]


def catalogue(seed: int = 5, count: int = 50, shift: int = 0) -> pa.Table:
    """Items `i0` … a row each, with the columns of their fields."""
    rng = np.random.default_rng(seed)
    numbers = np.arange(shift, shift + count)
    return pa.table({
        "item": [f"i{i}" for i in numbers],
        "brand": [int(i) % 7 + 2**62 for i in numbers],
        "price": [float(i) for i in numbers],
        "tags": [[int(t) for t in rng.integers(0, 9, rng.integers(0, 4))] for _ in numbers],
        "image": [[float(i), 1.0, -1.0, 0.5] for i in numbers],
        "stock": rng.normal(size=count),
    })  # fmt: skip
