"""Mutations of a schema as plain data, and of its YAML text."""

from __future__ import annotations

import copy
import random
from typing import Any

KEYS = ["name", "kind", "side", "column", "encoding", "table", "width", "size", "buckets", "type", "observed", "weight"]
KEYS += [
    "nan",
    "max_length",
    "embedding_dim",
    "privileged",
    "min_count",
    "max_size",
    "fields",
    "tasks",
    "keys",
    "teacher",
]
KEYS += [
    "score",
    "evaluation",
    "request",
    "user",
    "item",
    "time",
    "stage",
    "columns",
    "version",
    "layout",
    "values",
    "x",
    "",
]
VALUES: list[Any] = [None, True, False, 0, 1, -1, 2, 2**31, 2**40, 2**63, 10**30, 1.5, -0.5, 1e308, float("nan")]
VALUES += [
    float("inf"),
    "",
    " ",
    "a",
    "1",
    "id",
    "number",
    "vector",
    "sequence",
    "request",
    "candidate",
    "cross",
    "all",
]
VALUES += [
    "exposed",
    "click",
    "binary",
    "graded",
    "value",
    "vocabulary",
    "hash",
    "quantile",
    "ids",
    "standardise",
    "log",
]
VALUES += ["identity", "flat", "requests", "error", "missing", "probability", "logit", "part", "a\nb", "\0", "é", "🎯"]
VALUES += ["\ud800", "n" * 3000, "../../x", "/etc", [], {}, [[]], [None], [1, 2], {"a": 1}, {"type": "hash"}, {1: 2}]
VALUES += [{"type": "hash", "buckets": 2**40}, {"type": "ids", "size": 2**31}, {"type": "quantile", "buckets": 2**40}]
VALUES += [{"type": "vocabulary", "max_size": 2**70}, {"type": "vocabulary", "min_count": 2**70}, {"column": "stage"}]

TEXTS = [
    "",
    "\n",
    "---\n---\n",
    "a: *b",
    "&a [*a]",
    "&a {name: *a, layout: *a, fields: *a, tasks: *a}",
    "name: &n x\nlayout: flat\nfields: &f [*f]\ntasks: *f\n",
    "!!python/object/apply:os.system ['echo x']",
    "!!binary x",
    "!!int x",
    "!!float x",
    "!!bool x",
    "!!timestamp x",
    "name: 2020-13-45",
    "name: 2020-01-01",
    "name: 0x",
    "name: 0b",
    "name: 1_",
    "name: 1:90:90",
    "name: " + "9" * 6000,
    "name: .nan",
    "? [a]\n: b",
    "? {a: b}\n: c",
    "<<: 1",
    "<<: [1]",
    "[" * 3000,
    "{a: " * 2000,
    "- " * 2000,
    "a: " + "[" * 400 + "]" * 400,
    "\t",
    "%YAML 9.9\n---\na: b",
    "%TAG ! x",
    "a: !<x> b",
    "name: x\nname: y",
    "a: b: c",
    "\ufeffname: x",
    "name: \0",
    'name: "\\ud800"',
    'name: "\\0"',
    "a: &x [1]\nb: &x [2]\nc: *x",
    "- " + "\n- ".join(["a"] * 500),
]


def bomb(depth: int, key: str) -> str:
    """Nested aliases that mean 10^depth values under one key."""
    lines = ["x0: &x0 [a, a, a, a, a, a, a, a, a, a]"]
    lines += [f"x{level}: &x{level} [{', '.join([f'*x{level - 1}'] * 10)}]" for level in range(1, depth)]
    return "\n".join([*lines, f"{key}: *x{depth - 1}", ""])


def places(node: Any) -> list[Any]:
    """All containers below a value that hold something."""
    inner = list(node.values()) if isinstance(node, dict) else list(node) if isinstance(node, list) else []
    below = [place for value in inner for place in places(value)]
    return [node, *below] if inner else below


def mutate_schema(rng: random.Random, schema: dict[str, Any]) -> dict[str, Any]:
    """Changes a copy at one to three places: values, keys, order, repetition."""
    changed = copy.deepcopy(schema)
    for _ in range(rng.choice([1, 1, 2, 3])):
        holders = places(changed)
        if not holders:
            break
        holder = rng.choice(holders)
        if isinstance(holder, dict):
            _change_mapping(rng, holder)
        else:
            _change_list(rng, holder)
    return changed


def _change_mapping(rng: random.Random, holder: dict[Any, Any]) -> None:
    key = rng.choice(list(holder))
    how = rng.choice(["set", "set", "set", "new", "drop", "rename", "swap"])
    if how == "set":
        holder[key] = copy.deepcopy(rng.choice(VALUES))
    elif how == "new":
        holder[rng.choice([*KEYS, 1, None, True, 1.5])] = copy.deepcopy(rng.choice(VALUES))
    elif how == "drop":
        del holder[key]
    elif how == "rename":
        holder[rng.choice(KEYS)] = holder.pop(key)
    else:
        other = rng.choice(list(holder))
        holder[key], holder[other] = holder[other], holder[key]


def _change_list(rng: random.Random, holder: list[Any]) -> None:
    at = rng.randrange(len(holder))
    how = rng.choice(["set", "repeat", "drop", "insert"])
    if how == "set":
        holder[at] = copy.deepcopy(rng.choice(VALUES))
    elif how == "repeat":
        holder.insert(at, copy.deepcopy(holder[at]))
    elif how == "drop":
        del holder[at]
    else:
        holder.insert(at, copy.deepcopy(rng.choice(VALUES)))


def mutate_text(rng: random.Random, text: str) -> str:
    """Changes characters, lines or indentation of YAML text."""
    at = rng.randrange(len(text))
    how = rng.choice(["char", "char", "cut", "line", "indent", "insert"])
    lines = text.splitlines()
    line = rng.randrange(len(lines))
    if how == "char":
        return text[:at] + rng.choice("&*!|>%@`{}[],:#?-'\"\\\t\n \0é<0x.~") + text[at + rng.randint(0, 1) :]
    if how == "cut":
        return text[:at]
    if how == "line":
        lines.insert(line, lines[rng.randrange(len(lines))])
    elif how == "indent":
        lines[line] = " " * rng.randint(1, 3) + lines[line]
    else:
        lines.insert(line, rng.choice(TEXTS))
    return "\n".join(lines)
