"""A slow encoder of raw rows in plain Python, written from the documentation alone, to compare `prepare` with."""

from __future__ import annotations

import math
from collections import Counter
from decimal import Decimal
from typing import Any

import numpy as np

SPLITS = ("train", "val", "test")
Row = dict[str, Any]


def plain(value: Any) -> Any:
    """Takes booleans for numbers, decimals for floats (whole ones for integers), bytes for text; NaN stays."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, Decimal):
        return int(value) if value.as_tuple().exponent == 0 else float(value)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def identity(value: Any) -> Any:
    """What makes two ids equal: whole floats are integers, and integers from 2**63 on are their bits."""
    if isinstance(value, float):
        return int(value)
    return value - 2**64 if isinstance(value, int) and value >= 2**63 else value


def absent(value: Any) -> bool:
    """Whether a number is null or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def group(rows: list[Row], shape: str, schema: dict[str, Any]) -> list[tuple[Row, list[Row]]]:
    """Gathers raw rows into (request row, candidate rows), in order of first appearance."""
    if shape == "flat":
        return [(row, [row]) for row in rows]
    if shape == "requests":
        label = schema["tasks"][0].get("column") or schema["tasks"][0]["name"]
        return [(row, _candidates(row, len(row[label] or []))) for row in rows]
    found: dict[Any, tuple[Row, list[Row]]] = {}
    for row in rows:
        found.setdefault(row[schema["keys"]["request"]], (row, []))[1].append(row)
    return list(found.values())


def _candidates(row: Row, size: int) -> list[Row]:
    lists = {name: values for name, values in row.items() if isinstance(values, list) and len(values) == size}
    return [{name: values[i] for name, values in lists.items()} for i in range(size)]


class Encoder:
    """Encodes one field; fitted on the values of the training split (those inside lists for a sequence)."""

    def __init__(self, spec: dict[str, Any], encoding: dict[str, Any], training: list[Any]) -> None:
        self.spec, self.encoding = spec, encoding
        self.kind = encoding["type"]
        present = [value for value in training if not absent(value)]
        if self.kind == "vocabulary":
            self.ids = self._vocabulary([identity(value) for value in present])
        elif self.kind == "quantile":
            shares = np.arange(1, encoding["buckets"]) / encoding["buckets"]
            self.bounds = np.unique(np.quantile(np.array(present, float), shares)) if present else np.zeros(0)
        elif self.kind in ("standardise", "log"):
            moved = np.array([self._log(float(value)) for value in present])
            self.mean = float(moved.mean()) if present else 0.0
            self.deviation = (float(moved.std()) if len(set(present)) > 1 else 0.0) or 1.0

    def _vocabulary(self, values: list[Any]) -> dict[Any, int]:
        counts = Counter(values)
        kept = [value for value, count in counts.items() if count >= self.encoding.get("min_count", 1)]
        ranked = sorted(kept, key=lambda value: (-counts[value], value))[: self.encoding.get("max_size")]
        return {value: i + 2 for i, value in enumerate(ranked)}

    def _log(self, value: float) -> float:
        return math.copysign(math.log1p(abs(value)), value) if self.kind == "log" else value

    def one(self, value: Any) -> Any:
        """Encodes one value; None where there is no simple answer (hash buckets)."""
        if self.kind == "vocabulary":
            return 0 if absent(value) else self.ids.get(identity(value), 1)
        if self.kind == "ids":
            size = self.encoding["size"]
            return 0 if absent(value) else (int(value) + 2 if 0 <= value < size else 1)
        if self.kind == "hash":
            return 0 if absent(value) else None
        if self.kind == "quantile":
            return 0 if absent(value) else int(sum(bound <= value for bound in self.bounds)) + 2
        return self._number(value)

    def _number(self, value: Any) -> float:
        if self.kind == "identity":
            return 0.0 if absent(value) else float(value)
        standardise = self.kind == "standardise" or self.encoding.get("standardise", True)
        if absent(value):
            return 0.0 if standardise else self.mean
        moved = self._log(float(value))
        return (moved - self.mean) / self.deviation if standardise else moved

    def encode(self, value: Any) -> Any:
        """Encodes one raw value of the field, a list for a sequence or vector."""
        if self.spec["kind"] == "sequence":
            return [self.one(item) for item in self.inside(value)]
        if self.spec["kind"] == "vector":
            width = self.spec["width"]
            return [0.0] * width if value is None else [0.0 if absent(item) else float(item) for item in value]
        return self.one(value)

    def inside(self, value: Any) -> list[Any]:
        """The values of a sequence that are kept."""
        kept = [item for item in value or [] if item is not None]
        limit = self.spec.get("max_length")
        return kept if limit is None else kept[-limit:]


def labels(schema: dict[str, Any], candidate: Row) -> dict[str, float]:
    """The labels of one candidate: NaN where not observed."""
    found: dict[str, float] = {}
    tasks = {task["name"]: task for task in schema["tasks"]}

    def observed(name: str) -> bool:
        task = tasks[name]
        rule = task.get("observed", "all")
        if candidate[task.get("column", name)] is None:
            return False
        if rule in ("all", "exposed"):
            return rule == "all" or candidate[schema["keys"]["stage"]] in ("exposed", 3, "3")
        return observed(rule) and candidate[tasks[rule].get("column", rule)] == 1

    for name, task in tasks.items():
        found[name] = float(candidate[task.get("column", name)]) if observed(name) else math.nan
    return found
