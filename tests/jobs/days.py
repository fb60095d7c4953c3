"""Logs of a shop, day by day: items and users that earlier days did not have, and a label that depends on the item."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

SCHEMA: dict[str, Any] = {
    "name": "shop",
    "layout": "requests",
    "keys": {"request": "search", "user": "user", "item": "item", "time": "ts"},
    "fields": [
        {"name": "user", "side": "request", "kind": "id"},
        {"name": "past", "side": "request", "kind": "sequence", "table": "item", "max_length": 3},
        {"name": "item", "side": "candidate", "kind": "id"},
        {"name": "brand", "side": "candidate", "kind": "id", "encoding": {"type": "hash", "buckets": 16}},
        {"name": "price", "side": "candidate", "kind": "number", "encoding": "log"},
        {"name": "age", "side": "candidate", "kind": "number", "encoding": {"type": "quantile", "buckets": 4}},
        {"name": "match", "side": "cross", "kind": "number"},
        {"name": "dwell", "side": "cross", "kind": "number", "privileged": True},
    ],
    "tasks": [{"name": "click"}],
}
CANDIDATES = 8


def day(number: int, requests: int = 60) -> pa.Table:
    """One row per request: items `i0` … of which later days have others."""
    rng = np.random.default_rng(number)
    rows: dict[str, list[Any]] = {name: [] for name in ("search", "user", "ts", "past")}
    lists: dict[str, list[Any]] = {n: [] for n in ("item", "brand", "price", "age", "match", "dwell", "click")}
    for request in range(requests):
        items = rng.choice(np.arange(10 * number, 10 * number + 30), CANDIDATES, replace=False)
        rows["search"].append(f"d{number}s{request}")
        rows["user"].append(f"u{rng.integers(5 * number, 5 * number + 12)}")
        rows["ts"].append(86400 * number + request)
        rows["past"].append([f"i{i}" for i in rng.choice(items, 2)])
        lists["item"].append([f"i{i}" for i in items])
        lists["brand"].append([f"b{i % 7}" for i in items])
        lists["price"].append([float(1 + i % 5) for i in items])
        lists["age"].append([float(i) for i in items])
        lists["match"].append(rng.normal(size=CANDIDATES).tolist())
        lists["dwell"].append(rng.random(CANDIDATES).tolist())
        lists["click"].append([int(rng.random() < 1 / (1 + np.exp(-np.sin(i)))) for i in items])
    return pa.table({**rows, **lists})


def write_days(root: Path, numbers: range, schema: dict[str, Any] | None = None) -> None:
    """Writes `root/days/<number>.parquet` and `root/schema.yaml`."""
    (root / "days").mkdir(parents=True, exist_ok=True)
    for number in numbers:
        pq.write_table(day(number), root / "days" / f"{number}.parquet")
    (root / "schema.yaml").write_text(yaml.safe_dump(SCHEMA if schema is None else schema))


def of_day(root: Path, number: int | str) -> list[str]:
    """What names a day's log on the command line."""
    return ["data=parquet", f"data.source={root / 'days' / f'{number}.parquet'}", f"data.schema={root / 'schema.yaml'}"]
