"""The id field that a model asks for: the one that the user names, that of a key, or the first of a side."""

from __future__ import annotations

from typing import NamedTuple

from distill.errors import ConfigError
from distill.schema import FieldSpec, Schema, Side


class IdField(NamedTuple):
    """An id field and its column in the ids of its side."""

    spec: FieldSpec
    column: int


def id_field(schema: Schema, side: Side, name: str | None, key: str | None, where: str) -> IdField:
    """Finds an id field of a side.

    Args:
        schema: Which fields there are.
        side: Of the field.
        name: Of the field; None for that of the key, or the first one if it has none.
        key: Column of the key.
        where: The option that names it, for errors.

    Raises:
        ConfigError: The side has no such field.
    """
    fields = [f for f in schema.side(side) if f.is_id]
    wanted = [f for f in fields if (f.column == key if name is None else f.name == name)]
    found = wanted or (fields if name is None else [])
    if not found:
        raise ConfigError(
            f"The model needs an id field of the {side.value} side.",
            where=where,
            expected=", ".join(f.name for f in fields) or "an id field in the schema",
            found=name or "none",
        )
    return IdField(found[0], fields.index(found[0]))
