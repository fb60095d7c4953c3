"""Reads and writes `schema.yaml`, turning every mistake into one error that names its place."""

from __future__ import annotations

import difflib
import reprlib
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from distill.errors import SchemaError
from distill.schema.keys import Keys, RawColumns, StageKey
from distill.schema.plain_yaml import read_yaml
from distill.schema.schema import (
    FieldSpec,
    HiddenColumn,
    Schema,
    Score,
    Task,
    TeacherColumns,
)

MAX_BYTES = 1 << 22

_KNOWN: dict[str, type[BaseModel]] = {
    "fields": FieldSpec,
    "tasks": Task,
    "keys": Keys,
    "score": Score,
    "teacher": TeacherColumns,
    "hidden": HiddenColumn,
    "stage": StageKey,
    "raw": RawColumns,
}


def load_schema(path: Path) -> Schema:
    """Reads a schema.

    Args:
        path: A `schema.yaml`.

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
    return parse_schema(data, str(path))


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


def parse_schema(data: Any, where: str) -> Schema:
    """Builds a schema from plain data.

    Args:
        data: What a `schema.yaml` holds.
        where: The place to name in errors.

    Raises:
        SchemaError: It does not describe a dataset.
    """
    if not isinstance(data, dict):
        raise SchemaError(
            "A schema is a mapping.",
            where=where,
            found=type(data).__name__,
            expected="keys such as name, layout, fields, tasks",
        )
    try:
        schema = Schema.model_validate(data)
    except ValidationError as error:
        raise _first_error(error, data, where) from error
    _check_text(schema.model_dump(mode="json"), where)
    return schema


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
        raise SchemaError("Text holds half a surrogate pair, which is no character.", where=where, found=_short(value))


def save_schema(schema: Schema, path: Path) -> None:
    """Writes a schema such that `load_schema` returns an equal one."""
    path.write_text(dump_schema(schema), encoding="utf-8")


def dump_schema(schema: Schema) -> str:
    """Returns a schema as YAML text."""
    return yaml.safe_dump(schema.model_dump(mode="json", exclude_none=True), sort_keys=False)


def _first_error(error: ValidationError, data: dict[str, Any], where: str) -> SchemaError:
    first = error.errors()[0]
    place = _place(first["loc"], data)
    found = first["input"]
    shown = None if isinstance(found, dict) else _short(found)
    message = _name(first["msg"].removeprefix("Value error, "), 300)
    more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    remedy = None
    if first["type"] == "extra_forbidden":
        message, shown = f"Unknown key {_short(first['loc'][-1])}", None
        remedy = _suggest(first["loc"])
    elif first["type"] == "missing":
        message, shown = f"Key {first['loc'][-1]!r} is missing", None
    return SchemaError(f"{message}{more}.", where=f"{where}: {place}" if place else where, found=shown, remedy=remedy)


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
    known = list(model.model_fields)
    close = difflib.get_close_matches(str(loc[-1]), known, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"The keys here are: {', '.join(known)}"
