"""Raw logs of a schema with fields that are made of other columns, in every layout and shape."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa

REQUEST_COLUMNS = ("search", "user", "past", "codes", "city", "budget", "at", "born")
CANDIDATE_COLUMNS = ("item", "brand", "tags", "code", "town", "price", "added", "seen", "click")


def column(name: str, is_list: bool = False) -> dict[str, Any]:
    """A source that is not a field."""
    side = "request" if name in REQUEST_COLUMNS else "candidate"
    return {"column": name, "side": side, **({"list": True} if is_list else {})}


def made(name: str, kind: str, of: list[Any], **more: Any) -> dict[str, Any]:
    """A made field."""
    field = {"name": name, "kind": "id" if kind == "combine" else "number"}
    if "encoding" in more:
        field["encoding"] = more.pop("encoding")
    if "privileged" in more:
        field["privileged"] = more.pop("privileged")
    return {**field, "made": {"type": kind, "of": of, **more}}


MADE = [
    made("user_brand", "combine", ["user", "brand"]),
    made("city_town", "combine", [column("city"), column("town")], encoding={"type": "hash", "buckets": 64}),
    made("brand_code", "combine", ["brand", column("code")]),
    made("user_city", "combine", ["user", column("city")]),
    made("knows", "match", ["past", "brand"]),
    made("same_town", "match", [column("city"), column("town")], otherwise=0, encoding="identity"),
    made("knows_tag", "match", ["past", column("tags", True)], otherwise=-1),
    made("own_tag", "match", ["brand", column("tags", True)]),
    made("how_often", "overlap", ["past", "brand"], encoding={"type": "quantile", "buckets": 3}),
    made("shared", "overlap", [column("tags", True), "past"], encoding="log"),
    made("coded", "overlap", [column("codes", True), column("code")], encoding={"type": "autodis", "buckets": 3}),
    made("affordable", "ratio", ["price", column("budget")], otherwise=-1.0),
    made("per_price", "ratio", [column("budget"), "price"], encoding="log"),
    made("left", "difference", [column("budget"), "price"], encoding={"type": "piecewise_linear", "bins": 4}),
    made("waited", "difference", [column("at"), column("added")], unit="hours"),
    made("young", "difference", [column("at"), column("born")], unit="days", otherwise=0),
    made("shelf", "difference", [column("seen"), column("added")], unit="minutes", epoch="milliseconds"),
    made("secret", "ratio", ["dwell", "price"]),
]
FIELDS = [
    {"name": "user", "side": "request", "kind": "id"},
    {"name": "past", "side": "request", "kind": "sequence", "table": "brand", "max_length": 2},
    {"name": "item", "side": "candidate", "kind": "id"},
    {"name": "brand", "side": "candidate", "kind": "id"},
    {"name": "price", "side": "candidate", "kind": "number"},
    {"name": "dwell", "side": "cross", "kind": "number", "privileged": True},
]


def schema(layout: str) -> dict[str, Any]:
    """The schema of one layout."""
    keys = {"item": "item", **({"request": "search"} if layout == "requests" else {})}
    return {"name": "made", "layout": layout, "keys": keys, "fields": FIELDS + MADE, "tasks": [{"name": "click"}]}


def draw_requests(seed: int, requests: int = 30, new: bool = False) -> pa.Table:
    """One row per request; a new day has values that nobody has seen."""
    rng = np.random.default_rng(seed)
    shift = 3 if new else 0
    zone = timezone(timedelta(hours=2))

    def null(value: Any, share: float = 0.15) -> Any:
        return None if rng.random() < share else value

    def moment() -> datetime:
        return datetime(2024, 5, 1, tzinfo=timezone.utc) + timedelta(seconds=int(rng.integers(-(10**6), 10**6)))

    rows: list[dict[str, Any]] = []
    for number in range(requests):
        count = int(rng.integers(1, 7))

        def each(draw: Any, count: int = count) -> list[Any]:
            return [null(draw()) for _ in range(count)]

        def text(low: str = "b") -> str:
            return f"{low}{rng.integers(shift, shift + 6)}" + ("|" if rng.random() < 0.1 else "")

        rows.append({
            "search": f"q{seed}-{number}",
            "user": null(int(rng.integers(shift, shift + 5))),
            "past": null([null(text()) for _ in range(rng.integers(0, 7))]),
            "codes": null([null(int(rng.integers(2**62, 2**62 + 4))) for _ in range(rng.integers(0, 5))]),
            "city": null(text("c\\")),
            "budget": null(float(np.round(rng.normal(20, 5), 2))),
            "at": null(moment().astimezone(zone).isoformat()),
            "born": null((moment() - timedelta(days=9000)).date()),
            "item": [f"i{rng.integers(shift, shift + 20)}-{place}" for place in range(count)],
            "brand": each(text),
            "tags": each(lambda: [null(text()) for _ in range(rng.integers(0, 4))]),
            "code": each(lambda: int(rng.integers(2**62, 2**62 + 4))),
            "town": each(lambda: text("c\\")),
            "price": each(lambda: float(rng.integers(0, 4))),
            "added": each(moment),
            "seen": each(lambda: int(moment().timestamp() * 1000)),
            "dwell": each(lambda: float(rng.random())),
            "click": rng.integers(0, 2, count).tolist(),
        })  # fmt: skip
    stamps = pa.list_(pa.timestamp("ms", "Europe/Paris"))
    kinds = {"past": pa.list_(pa.string()), "codes": pa.list_(pa.int64()), "tags": pa.list_(pa.list_(pa.string()))}
    kinds |= {"added": stamps, "born": pa.date32(), "at": pa.string(), "city": pa.string(), "user": pa.int64()}
    names = list(rows[0])
    return pa.table({name: pa.array([row[name] for row in rows], kinds.get(name)) for name in names})


def as_pairs(table: pa.Table) -> pa.Table:
    """The same log with a row for each candidate."""
    of_candidate = ("dwell", *CANDIDATE_COLUMNS)
    table = table.combine_chunks()
    counts = np.array([len(items) for items in table["item"].to_pylist()])
    index = pa.array(np.repeat(np.arange(len(counts)), counts))
    columns = {
        name: table[name].combine_chunks().flatten() if name in of_candidate else table[name].take(index)
        for name in table.column_names
    }
    return pa.table(columns)
