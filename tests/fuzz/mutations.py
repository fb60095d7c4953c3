"""What can be wrong or odd with a raw table: types, nulls, values, lists, names, rows."""

from __future__ import annotations

import datetime
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from tests.fuzz.cases import Case

NAMES = ["", " ", "a.b", "a/b", "../x", "col\numn", "n" * 300, "Ünïcode", "\0row", "\0request", "key_request"]
NAMES += [
    "field_uid",
    "label_click",
    "stage",
    "num_candidates",
    "value_bid",
    "teacher_click",
    "__index_level_0__",
    "🎯",
]
VALUES: list[Any] = [None, float("nan"), float("inf"), -float("inf"), 1e308, -1e308, 5e-324, 1e39, -0.0, 0.5, 2, -1]
VALUES += [2**31, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1, "", "\0", "a\0b", "é", "e\u0301", "\u202eabc", "🎯", "nan"]
VALUES += ["z" * 5000, "1", "true", "2020-01-01", True, b"\xff\xfe", [], [None], [1, 2], {"a": 1}, Decimal("1.50")]
VALUES += [datetime.date(2020, 1, 1), datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31), datetime.time(1)]
TYPES: list[pa.DataType] = [
    *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
    *(pa.float16(), pa.float32(), pa.float64(), pa.bool_(), pa.null(), pa.date32(), pa.date64()),
    *(pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary(3)),
    *(pa.decimal128(20, 4), pa.decimal256(50, 2), pa.time32("s"), pa.time64("us"), pa.duration("s")),
    *(pa.timestamp("s"), pa.timestamp("ms", "UTC"), pa.timestamp("us", "Europe/Paris"), pa.timestamp("ns", "+01:30")),
    *(pa.timestamp("us", "Nowhere/Land"), pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int32(), pa.int64())),
]

Mutation = Callable[[random.Random, Case], None]


def mutate(rng: random.Random, case: Case) -> None:
    """Applies up to three mutations, noted in the case; one that Arrow itself refuses is left out."""
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
        mutation = rng.choice(MUTATIONS)
        try:
            mutation(rng, case)
        except (pa.ArrowException, ValueError, TypeError, OverflowError, LookupError, AttributeError):
            continue
        case.notes.append(mutation.__name__)


def _pick(rng: random.Random, case: Case) -> tuple[int, int]:
    """A table and one of its columns, mostly one that the schema names."""
    number = rng.randrange(len(case.tables))
    names = case.tables[number].column_names
    used = [i for i, name in enumerate(names) if f"'{name}'" in str(case.schema)]
    return number, rng.choice(used if used and rng.random() < 0.9 else range(len(names)))


def _put(case: Case, number: int, column: int, array: Any, name: str | None = None) -> None:
    table = case.tables[number]
    name = table.column_names[column] if name is None else name
    case.tables[number] = table.set_column(column, name, array)


def _everywhere(rng: random.Random, case: Case, change: Callable[[pa.Array], pa.Array]) -> None:
    """Changes a column of one table, or that of all."""
    number, column = _pick(rng, case)
    name = case.tables[number].column_names[column]
    for other in range(len(case.tables)) if rng.random() < 0.7 else [number]:
        array = case.tables[other].column(name).combine_chunks()
        _put(case, other, column, change(array))
    case.notes.append(name)


def _cast(array: pa.Array, target: pa.DataType) -> pa.Array:
    if pa.types.is_list(array.type):
        inner = _cast(array.values, target)
        return pa.ListArray.from_arrays(array.offsets, inner, mask=array.is_null() if array.null_count else None)
    if pa.types.is_dictionary(target):
        return array.cast(target.value_type).dictionary_encode()
    try:
        return array.cast(target, safe=False)
    except pa.ArrowException:
        return array.cast(pa.float64(), safe=False).cast(pa.int64(), safe=False).cast(target, safe=False)


def other_type(rng: random.Random, case: Case) -> None:
    target = rng.choice(TYPES)
    case.notes.append(str(target))
    _everywhere(rng, case, lambda array: _cast(array, target))


def other_list(rng: random.Random, case: Case) -> None:
    kind = rng.choice(["large", "fixed", "view", "deeper", "flatter", "wrapped", "struct", "map"])
    case.notes.append(kind)

    def change(array: pa.Array) -> pa.Array:
        values = array.to_pylist()
        if kind == "struct":
            return pa.StructArray.from_arrays([array, array], ["x", "y"])
        if kind == "map":
            return pa.array([None if v is None else [("k", 1)] for v in values], pa.map_(pa.string(), pa.int64()))
        if kind in ("wrapped", "deeper"):
            return pa.array([[v] for v in values], pa.list_(array.type))
        if kind == "flatter":
            return pa.array([v[0] if v else None for v in values], array.type.value_type)
        if kind == "fixed":
            return pa.array(
                [None if v is None else (v + [None] * 2)[:2] for v in values], pa.list_(array.type.value_type, 2)
            )
        return array.cast((pa.large_list if kind == "large" else pa.list_view)(array.type.value_type))

    _everywhere(rng, case, change)


def odd_value(rng: random.Random, case: Case) -> None:
    """Puts a value at random places, deep in lists too; the type of the column follows, if it can."""
    value = rng.choice(VALUES)
    case.notes.append(repr(value)[:40])

    def put(values: list[Any]) -> list[Any]:
        return [
            put(v) if isinstance(v, list) and rng.random() < 0.7 else value if rng.random() < 0.3 else v for v in values
        ]

    def change(array: pa.Array) -> pa.Array:
        values = put(array.to_pylist())
        try:
            return pa.array(values, array.type)
        except (pa.ArrowException, OverflowError):
            return pa.array(values)

    _everywhere(rng, case, change)


def ragged(rng: random.Random, case: Case) -> None:
    _everywhere(
        rng,
        case,
        lambda array: pa.array([v[:-1] if v and rng.random() < 0.2 else v for v in array.to_pylist()], array.type),
    )


def all_null(rng: random.Random, case: Case) -> None:
    _everywhere(rng, case, lambda array: pa.nulls(len(array), rng.choice([array.type, pa.null()])))


def constant(rng: random.Random, case: Case) -> None:
    _everywhere(rng, case, lambda array: array.take(pa.array([0] * len(array))))


def bad_text(rng: random.Random, case: Case) -> None:
    """Text columns whose bytes are not UTF-8, as careless writers make them."""

    def change(array: pa.Array) -> pa.Array:
        if pa.types.is_list(array.type):
            return pa.ListArray.from_arrays(array.offsets, change(array.values))
        raw = pa.array([b"\xff\xc3" if v is not None else None for v in array.to_pylist()], pa.binary())
        return pa.Array.from_buffers(pa.string(), len(raw), raw.buffers(), raw.null_count)

    _everywhere(rng, case, change)


def lose_column(rng: random.Random, case: Case) -> None:
    number, column = _pick(rng, case)
    case.tables[number] = case.tables[number].remove_column(column)


def repeat_column(rng: random.Random, case: Case) -> None:
    number, column = _pick(rng, case)
    table = case.tables[number]
    case.tables[number] = table.append_column(
        table.column_names[column], table.column(rng.randrange(table.num_columns))
    )


def odd_column_beside(rng: random.Random, case: Case) -> None:
    number, column = _pick(rng, case)
    table = case.tables[number]
    case.tables[number] = table.add_column(0, rng.choice(NAMES), table.column(column))


def rename_with_schema(rng: random.Random, case: Case) -> None:
    """An odd name in the files and in the schema alike."""
    number, column = _pick(rng, case)
    old, new = case.tables[number].column_names[column], rng.choice(NAMES)
    case.notes.append(f"{old} -> {new!r:.20}")
    case.tables = [t.rename_columns([new if n == old else n for n in t.column_names]) for t in case.tables]
    for spec in case.schema["fields"]:
        if spec.get("column", spec["name"]) == old:
            spec["column"] = new
    for task in case.schema["tasks"]:
        if task["name"] == old:
            task["column"] = new
    keys = case.schema["keys"]
    case.schema["keys"] = {key: new if name == old else name for key, name in keys.items()}
    if "score" in case.schema:
        case.schema["score"]["columns"] = {
            new if n == old else n: p for n, p in case.schema["score"]["columns"].items()
        }
    if "evaluation" in case.schema:
        case.schema["evaluation"] = [new if n == old else n for n in case.schema["evaluation"]]


def other_rows(rng: random.Random, case: Case) -> None:
    number = rng.randrange(len(case.tables))
    table = case.tables[number]
    how = rng.choice(["empty", "one", "twice", "shuffled", "sliced", "no columns"])
    case.notes.append(how)
    rows = list(range(len(table)))
    rng.shuffle(rows)
    case.tables[number] = {
        "empty": table.slice(0, 0),
        "one": table.slice(0, 1),
        "twice": pa.concat_tables([table, table]),
        "shuffled": table.take(pa.array(rows, pa.int64())),
        "sliced": table.slice(1, max(0, len(table) - 2)),
        "no columns": table.select([]),
    }[how]


def other_items(rng: random.Random, case: Case) -> None:
    if case.items is None or case.items.num_columns == 0:
        raise ValueError
    inner = Case(case.shape, case.schema, [case.items], case.split)
    rng.choice([other_type, odd_value, all_null, lose_column, repeat_column, other_rows])(rng, inner)
    case.items = inner.tables[0]
    case.notes += inner.notes


def chunked(rng: random.Random, case: Case) -> None:
    number = rng.randrange(len(case.tables))
    table = case.tables[number]
    cuts = sorted(int(cut) for cut in np.random.default_rng(rng.randrange(9)).integers(0, len(table) + 1, 3))
    pieces = [table.slice(a, b - a) for a, b in zip([0, *cuts], [*cuts, len(table)], strict=True)]
    case.tables[number] = pa.concat_tables(pieces)


MUTATIONS: list[Mutation] = [
    other_type,
    other_type,
    other_type,
    odd_value,
    odd_value,
    odd_value,
    other_list,
    other_list,
]
MUTATIONS += [ragged, all_null, constant, bad_text, lose_column, repeat_column, odd_column_beside, rename_with_schema]
MUTATIONS += [other_rows, other_rows, other_items, chunked]
