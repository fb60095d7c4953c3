"""Which raw columns are read, and what for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from distill.data.prepare.listed import label_purpose
from distill.data.split import ColumnSplit, DateSplit, SplitRule, TimeSplit, UserTimeSplit
from distill.errors import SchemaError
from distill.schema import FieldSpec, Kind, Schema, Side, Task

RawShape = Literal["flat", "pairs", "requests"]

_IDS = ("int", "string", "bool", "float", "null")
KEYS = (*_IDS, "time", "time of day", "duration")
_NUMBERS = ("int", "float", "bool", "null")
_TEXT = ("string", "null")
TIMES = ("int", "float", "time", "time of day", "duration", "string", "bool", "null")


@dataclass(frozen=True)
class Use:
    """One use of a raw column.

    Attributes:
        column: Raw column.
        purpose: Named in errors, such as `field 'price'`.
        per_candidate: Whether raw requests hold a list of it.
        families: Families of the type of one value that fit.
        depth: How many lists deep the numbers or ids of one value lie: 1 of a sequence or vector, 2 of a sequence of
            vectors.
        makes_ids: Whether its values become ids of an embedding table.
        constant: Whether, if it is not of a candidate, all rows of a request must hold the same value.
    """

    column: str
    purpose: str
    per_candidate: bool
    families: tuple[str, ...]
    depth: int = 0
    makes_ids: bool = False
    constant: bool = True


def field_uses(fields: Iterable[FieldSpec]) -> list[Use]:
    """Lists the uses of the columns of fields."""
    return [use for spec in fields for use in ([_field_use(spec)] if spec.made is None else _made_uses(spec))]


def _made_uses(spec: FieldSpec) -> list[Use]:
    assert spec.made is not None
    families = {"id": _IDS, "number": _NUMBERS, "time": TIMES}[spec.made.role]
    purpose = f"field {spec.name!r}, made.of"
    return [Use(one.column, purpose, one.side is not Side.REQUEST, families, one.list) for one in spec.made.of]


def _field_use(spec: FieldSpec) -> Use:
    depth = {Kind.SEQUENCE: 1, Kind.VECTOR: 1, Kind.VECTORS: 2}.get(spec.kind, 0)
    families = _TEXT if spec.kind is Kind.TEXT else _IDS if spec.by_value else _NUMBERS
    return Use(
        spec.column, f"field {spec.name!r}", spec.side is not Side.REQUEST, families, depth, makes_ids=spec.by_value
    )


def _label_use(task: Task) -> Use:
    if task.chosen is not None:
        return Use(task.chosen, label_purpose(task), False, KEYS, depth=1)
    return Use(task.column, label_purpose(task), True, _NUMBERS)


def key_uses(schema: Schema) -> tuple[Use, ...]:
    """Lists the uses of columns as keys of requests, users and items."""
    keys = schema.keys
    uses = [Use(c, f"keys.{n}", False, KEYS) for n, c in (("request", keys.request), ("user", keys.user)) if c]
    if keys.item:
        uses.append(Use(keys.item, "keys.item", True, KEYS))
    return tuple(uses)


def raw_uses(schema: Schema, split: SplitRule | None) -> tuple[Use, ...]:
    """Lists every use of a raw column; no rule where every split has files of its own.

    Raises:
        SchemaError: The name of a column cannot be taken.
    """
    by_time = needs_time(split)
    keys = schema.keys
    uses = list(key_uses(schema))
    if keys.time:
        uses.append(Use(keys.time, "keys.time", False, TIMES, constant=by_time))
    if keys.stage:
        uses.append(Use(keys.stage.column, "keys.stage", True, _IDS))
    if isinstance(split, ColumnSplit):
        uses.append(Use(split.column, "split column", False, ("string",)))
    if isinstance(split, DateSplit) and split.column is not None:
        uses.append(Use(split.column, "split column", False, TIMES))
    uses += field_uses(schema.fields)
    uses += [_label_use(task) for task in schema.tasks if task.events is None]
    others = [column for column in schema.value_columns if column not in schema.weight_columns]
    uses += [Use(column, "value column", True, _NUMBERS) for column in others]
    uses += [Use(column, "row weight", True, _NUMBERS) for column in schema.weight_columns]
    if schema.teacher:
        uses += [Use(c, f"teacher of task {t!r}", True, _NUMBERS) for t, c in schema.teacher.columns.items()]
        hidden = (schema.teacher.hidden or {}).items()
        uses += [Use(h.column, f"hidden vector {n!r} of the teacher", True, _NUMBERS, depth=1) for n, h in hidden]
    for use in uses:
        if "\0" in use.column:  # the columns that grouping adds are named with it
            raise SchemaError("A column name contains NUL.", where=f"column {use.column!r} ({use.purpose})")
    return tuple(uses)


def numeric_columns(uses: Iterable[Use]) -> list[str]:
    """Lists the columns that must hold numbers whatever they are used for."""
    return sorted({use.column for use in uses if use.families == _NUMBERS})


def time_columns(uses: Iterable[Use]) -> list[str]:
    """Lists the columns that hold times."""
    return sorted({use.column for use in uses if use.families == TIMES})


def needs_time(split: SplitRule | None) -> bool:
    """Whether a rule goes by `keys.time`."""
    return isinstance(split, TimeSplit | UserTimeSplit) or (isinstance(split, DateSplit) and split.column is None)


def id_columns(uses: Iterable[Use]) -> list[str]:
    """Lists the columns that are read for nothing but the ids of fields, sorted."""
    others = {use.column for use in uses if not use.makes_ids}
    return [name for name in read_columns(uses) if name not in others]


def read_columns(uses: Iterable[Use]) -> list[str]:
    """Lists the columns that are used, sorted."""
    return sorted({use.column for use in uses})
