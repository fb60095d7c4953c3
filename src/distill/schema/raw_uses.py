"""What a schema as a whole uses raw columns for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill.schema.events import Events
from distill.schema.fields import Kind
from distill.schema.keys import RawColumns

if TYPE_CHECKING:
    from distill.schema.schema import Schema


def check_events(schema: Schema, task: str, events: Events) -> None:
    """Raises ValueError if the events of a task need a key that is not declared."""
    keys = {"request": schema.keys.request, "user": schema.keys.user, "item": schema.keys.item}
    keys |= {"time": schema.keys.time}
    if "request" in events.by and schema.keys.per_file:
        raise ValueError(
            f"task {task!r}: `events.by` names request, whose ids mean nothing outside their file (per_file)"
        )
    for key in (*events.by, "time"):
        if keys[key] is None:
            raise ValueError(f"task {task!r}: `events` needs `keys.{key}`, which is not declared")
    if schema.layout == "requests" and "item" not in events.by:
        raise ValueError(f"task {task!r}: `events.by` must name item: a request has several candidates")


def columns_of(schema: Schema) -> tuple[set[str], set[str]]:
    """Returns the raw columns whose values are ids, and those whose values are numbers."""
    keys, teacher = schema.keys, schema.teacher
    ids = {keys.request, keys.user, keys.item, keys.stage.column if keys.stage else None}
    plain = [f for f in schema.fields if f.made is None]
    ids |= {task.chosen for task in schema.tasks} | {f.column for f in plain if f.by_value}
    numbers = {f.column for f in plain if not f.by_value} | set(schema.value_columns)
    made = [(f.made.role, source.column) for f in schema.fields if f.made is not None for source in f.made.of]
    ids |= {column for role, column in made if role == "id"}
    numbers |= {column for role, column in made if role == "number"}
    numbers |= {task.column for task in schema.tasks if task.has_column}
    if teacher is not None:
        numbers |= {*teacher.columns.values(), *(hidden.column for hidden in (teacher.hidden or {}).values())}
    return {name for name in ids if name is not None}, numbers


def check_delimited(schema: Schema) -> None:
    """Raises ValueError if nothing says of which type the values of text are that is a list."""
    raw = schema.raw or RawColumns()
    ids, numbers = columns_of(schema)
    of_vectors = {f.column for f in schema.fields if f.kind is Kind.VECTORS}
    for name in raw.delimiters or ():
        if name in of_vectors:
            raise ValueError(f"raw.delimiters: column {name!r} holds lists of vectors, which text cannot be taken for")
        if name in ids & numbers and name not in raw.columns:
            raise ValueError(
                f"raw.delimiters: column {name!r} is used as ids and as numbers: say in `raw.columns` which they are"
            )
