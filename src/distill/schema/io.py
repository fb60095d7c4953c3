"""Reads and writes `schema.yaml`, turning every mistake into one error that names its place."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from distill.errors import SchemaError
from distill.schema.events import Events
from distill.schema.fields import Cold, FieldSpec
from distill.schema.keys import Keys, RawColumns, StageKey
from distill.schema.made import Combine, Difference, Match, Missing, Overlap, Ratio, Source
from distill.schema.many import Columns, expanded, listed_fields, patterns_of, used_columns, without_fields
from distill.schema.plain_yaml import read_yaml
from distill.schema.schema import (
    HiddenColumn,
    RowWeight,
    Schema,
    Score,
    Task,
    TeacherColumns,
)
from distill.schema.tokens import Tokens

MAX_BYTES = 1 << 22
_MOST_SHOWN = 5  # mistakes of a schema in one message

_KNOWN: dict[str, type[BaseModel]] = {
    "fields": FieldSpec,
    "cold": Cold,
    "tokens": Tokens,
    "tasks": Task,
    "keys": Keys,
    "score": Score,
    "teacher": TeacherColumns,
    "hidden": HiddenColumn,
    "stage": StageKey,
    "events": Events,
    "weight": RowWeight,
    "raw": RawColumns,
    **{one.model_fields["type"].default: one for one in (Combine, Match, Overlap, Ratio, Difference, Missing)},
    "of": Source,
}
_BESIDE: dict[type[BaseModel], list[str]] = {Schema: ["defaults"], FieldSpec: ["match", "except"]}


def load_schema(path: Path, columns: Callable[[], Columns] | None = None, taken: Collection[str] = ()) -> Schema:
    """Reads a schema.

    Args:
        path: A `schema.yaml`.
        columns: See `parse_schema`.
        taken: See `parse_schema`.

    Raises:
        SchemaError: It is missing, not YAML, or does not describe a dataset.
    """
    try:
        _check_size(path)
        data = read_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SchemaError(
            "The schema does not exist.", where=str(path), remedy="Give its path: data.schema=FILE"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise SchemaError("The schema cannot be read as YAML.", where=str(path), found=str(error)) from error
    return parse_schema(data, str(path), columns, taken)


def _check_size(path: Path) -> None:
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise SchemaError(
            "This file is too large for a schema.",
            where=str(path),
            expected=f"YAML of at most {MAX_BYTES:,} bytes",
            found=f"{size:,} bytes",
            remedy="Check that data.schema names a schema.yaml.",
        )


def parse_schema(
    data: Any, where: str, columns: Callable[[], Columns] | None = None, taken: Collection[str] = ()
) -> Schema:
    """Builds a schema from plain data.

    Args:
        data: What a `schema.yaml` holds.
        where: The place to name in errors.
        columns: Returns the columns of the raw files; called only if `fields` has patterns, for which these stand.
        taken: Columns that a pattern leaves alone beside those of keys, tasks and the teacher.

    Raises:
        SchemaError: It does not describe a dataset.
    """
    if not isinstance(data, dict):
        raise SchemaError(
            "A schema must be a mapping.",
            where=where,
            found=type(data).__name__,
            expected="keys such as name, layout, fields, tasks",
        )
    data = listed_fields(data, where)
    if patterns_of(data):
        if columns is None:
            raise SchemaError(
                "Patterns stand for columns of raw files, and none are read here.",
                where=f"{where}: fields",
                found=str(patterns_of(data)[0]["match"])[:100],
                remedy="Give the schema with the files: data=parquet data.source=… data.schema=…",
            )
        used = used_columns(_validated(without_fields(data), where))
        data = expanded(data, columns(), {*used, *taken}, where)
    schema = _validated(data, where)
    _check_text(schema.model_dump(mode="json"), where)
    return schema


def _validated(data: dict[str, Any], where: str) -> Schema:
    try:
        return Schema.model_validate(data)
    except ValidationError as error:
        raise _all_errors(error, data, where) from error


def _check_text(value: Any, where: str) -> None:
    """Refuses text that no file can hold, wherever it is in the plain data of a schema."""
    if isinstance(value, dict):
        for key, item in value.items():
            _check_text(key, where)
            _check_text(item, f"{where}.{_name(key)}")
    elif isinstance(value, list):
        for item in value:
            _check_text(item, where)
    elif isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value):
        raise SchemaError(
            "Text holds half a surrogate pair, which is not a character.", where=where, found=_short(value)
        )


def save_schema(schema: Schema, path: Path) -> None:
    """Writes a schema such that `load_schema` returns an equal one."""
    path.write_text(dump_schema(schema), encoding="utf-8")


def dump_schema(schema: Schema) -> str:
    """Returns a schema as YAML text."""
    return yaml.safe_dump(schema.model_dump(mode="json", exclude_none=True), sort_keys=False)


def _all_errors(error: ValidationError, data: dict[str, Any], where: str) -> SchemaError:
    """Says the most useful mistake in full, and the others beneath it, up to a bound."""
    mistakes = sorted((_Mistake.of(one, data) for one in _told_once(error.errors())), key=lambda one: one.rank)
    first, others = mistakes[0], mistakes[1:]
    found = [first.found] if first.found else []
    if others:
        lines = [one.line() for one in others[: _MOST_SHOWN - 1]]
        left = ["…"] if len(others) > len(lines) else []
        found.append(f"{len(others)} more: {'; '.join([*lines, *left])}")
    return SchemaError(
        f"{first.message}.",
        where=f"{where}: {first.place}" if first.place else where,
        found="; ".join(found) or None,
        remedy=first.remedy,
    )


@dataclass(frozen=True)
class _Mistake:
    """One thing that is wrong in a schema; the lowest rank is said first."""

    message: str
    place: str
    found: str | None
    remedy: str | None
    rank: int

    @classmethod
    def of(cls, error: ErrorDetails, data: dict[str, Any]) -> _Mistake:
        """Puts an error of Pydantic's into our words."""
        loc, kind, place = error["loc"], error["type"], _place(error["loc"], data)
        if kind == "extra_forbidden":
            return cls(f"Unknown key {_short(loc[-1])}", place, None, _suggest(loc), 0)
        if kind == "missing":
            return cls(f"Key {loc[-1]!r} is missing", place, None, None, 1)
        if kind == "too_short" and not error["input"]:
            return cls("Nothing is declared here", place, "none", "Declare at least one.", 1)
        found = error["input"]
        shown = None if isinstance(found, dict) else _short(found)
        if loc and loc[-1] == "[key]" and not isinstance(found, str):
            quoted = f"Quote it: '{_name(found)}'"
            return cls("A key of this mapping is not text", place.removesuffix(".[key]"), shown, quoted, 0)
        message = _name(error["msg"].removeprefix("Value error, "), 300)
        return cls(message, place, shown, None, 0 if kind == "value_error" else 1)

    def line(self) -> str:
        """The mistake in one line."""
        return f"{self.message}{f' at {self.place}' if self.place else ''}{f' ({self.remedy})' if self.remedy else ''}"


def _told_once(errors: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """Leaves out what follows from another mistake: a wrong key has no right value, a list of wrong items is short."""
    places = [one["loc"] for one in errors]
    keys = {place[:-1] for place in places if place and place[-1] == "[key]"}
    parents = {place[:i] for place in places for i in range(len(place))}
    return [
        one for one in errors if one["loc"] not in keys and not (one["type"] == "too_short" and one["loc"] in parents)
    ]


def _short(value: object) -> str:
    """Shows a value in at most about 100 characters."""
    shown = reprlib.Repr()
    shown.maxstring = shown.maxother = 100
    return shown.repr(value)


def _name(value: object, longest: int = 100) -> str:
    """Shows a name without quotes, shortened."""
    text = value if isinstance(value, str) else _short(value)
    return text if len(text) <= longest else f"{text[:longest]}…"


def _place(loc: tuple[int | str, ...], data: dict[str, Any]) -> str:
    """Turns a location into `fields[3] (item_id).kind`."""
    text = ""
    node: Any = data
    for part in loc:
        if isinstance(part, int):
            node = node[part] if isinstance(node, list) and part < len(node) else {}
            name = node.get("name") if isinstance(node, dict) else None
            text += f"[{part}]" + (f" ({_name(name)})" if name else "")
        else:
            inner = node.get(part) if isinstance(node, dict) else None
            node = inner if inner is not None else {}
            text += ("." if text else "") + _name(part)
    return text


def _suggest(loc: tuple[int | str, ...]) -> str:
    names = [part for part in loc[:-1] if isinstance(part, str)]
    model = next((_KNOWN[name] for name in reversed(names) if name in _KNOWN), Schema)
    known = [field.alias or name for name, field in model.model_fields.items()]
    known += _BESIDE.get(model, [])
    close = difflib.get_close_matches(str(loc[-1]), known, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"The keys here are: {', '.join(known)}"
