"""Ways to write many fields in few lines: a mapping by name, defaults of a kind, patterns of columns."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from distill.errors import SchemaError
from distill.schema.fields import FieldSpec, Kind
from distill.schema.names import field_name
from distill.schema.schema import Schema

_WILDCARDS = re.compile(r"[*?\[]")
_PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_OWN = ("name", "column", "made", "kind", "table", "size")  # of one field, not of all of a kind
_SHOWN = 30
_PROBE = {"name": "any", "side": "request", "kind": "id"}

Columns = Mapping[str, Sequence[str]]
"""File to the names of its columns, in their order."""


def listed_fields(data: dict[str, Any], where: str) -> dict[str, Any]:
    """Returns the plain data of a schema with `fields` as a list, and `defaults` in the fields of their kind.

    Raises:
        SchemaError: A mapping of fields, or the defaults, cannot be read.
    """
    fields = data.get("fields")
    if isinstance(fields, dict):
        fields = [_named(key, spec, where) for key, spec in fields.items()]
    if "defaults" in data:
        defaults = _checked_defaults(data["defaults"], where)
        if isinstance(fields, list):
            fields = [_with_defaults(spec, defaults) for spec in fields]
    rest = {key: value for key, value in data.items() if key != "defaults"}
    return rest if fields is data.get("fields") else {**rest, "fields": fields}


def _named(key: object, spec: object, where: str) -> dict[str, Any]:
    """One entry of a mapping: its key is a name, or a pattern if it holds a wildcard."""
    place = f"{where}: fields.{str(key)[:100]}"
    if not isinstance(key, str):
        raise SchemaError("The name of a field must be text.", where=place, remedy="Quote it.")
    if not isinstance(spec, dict):
        raise SchemaError(
            "A field must be a mapping.", where=place, expected="{side: …, kind: …}", found=repr(spec)[:100] or None
        )
    twice = [name for name in ("name", "match") if name in spec]
    if twice:
        raise SchemaError(
            f"The key of the mapping is the name or the pattern: `{twice[0]}` says it a second time.",
            where=place,
            remedy=f"Leave `{twice[0]}` out.",
        )
    return {"match" if _WILDCARDS.search(key) else "name": key, **spec}


def _checked_defaults(defaults: object, where: str) -> dict[str, dict[str, Any]]:
    kinds = [kind.value for kind in Kind]
    example = "a mapping of kinds, such as {id: {encoding: {type: hash, buckets: 100000}}}"
    if not isinstance(defaults, dict):
        raise SchemaError("Defaults must be given by kind.", where=f"{where}: defaults", expected=example)
    options = [name for name in FieldSpec.model_fields if name not in _OWN]
    for kind, spec in defaults.items():
        if kind not in kinds or not isinstance(spec, dict):
            found = f"{kind!r}"[:100]
            raise SchemaError(
                "Defaults must be given by kind.", where=f"{where}: defaults", expected=example, found=found
            )
        for name in spec:
            if name not in options:
                raise SchemaError(
                    "This is not a default of fields.",
                    where=f"{where}: defaults.{kind}.{str(name)[:100]}",
                    expected=", ".join(options),
                )
    return defaults


def _with_defaults(spec: object, defaults: Mapping[str, dict[str, Any]]) -> object:
    kind = spec.get("kind") if isinstance(spec, dict) else None
    return {**defaults[kind], **spec} if isinstance(spec, dict) and isinstance(kind, str) and kind in defaults else spec


def patterns_of(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the entries of `fields`, as a list, that are patterns."""
    fields = data.get("fields")
    return [spec for spec in fields if isinstance(spec, dict) and "match" in spec] if isinstance(fields, list) else []


def without_fields(data: dict[str, Any]) -> dict[str, Any]:
    """Returns a schema's data with one field in place of all: the rest can be checked before files are read."""
    return {**data, "fields": [_PROBE], "raw": None}


def used_columns(schema: Schema) -> set[str]:
    """Returns the columns that keys, tasks, the teacher, the score, the weight and `evaluation` use."""
    keys, teacher = schema.keys, schema.teacher
    used = {keys.request, keys.user, keys.item, keys.time, keys.stage.column if keys.stage else None}
    used |= {task.chosen or task.column for task in schema.tasks}
    if teacher is not None:
        used |= {*teacher.columns.values(), *(hidden.column for hidden in (teacher.hidden or {}).values())}
    return {column for column in (*used, *schema.value_columns) if column}


def expanded(data: dict[str, Any], columns: Columns, taken: Collection[str], where: str) -> dict[str, Any]:
    """Puts a field for each column that it matches in place of each pattern, in the order of the columns.

    A pattern takes no column that has a use of its own, and none that a field names: neither by its name nor by its
    column.

    Args:
        data: Of a schema, with `fields` as a list.
        columns: Of all files.
        taken: Columns with a use of their own.
        where: Named in errors.

    Raises:
        SchemaError: A pattern is malformed or matches nothing, two match one column, or files do not agree.
    """
    declared = [spec for spec in data["fields"] if isinstance(spec, dict) and "match" not in spec]
    own = {str(spec[key]) for spec in declared for key in ("name", "column") if spec.get(key)}
    patterns = [_Pattern(spec, f"{where}: fields[{i}]") for i, spec in enumerate(data["fields"]) if _is_pattern(spec)]
    matched: dict[str, list[list[str]]] = {}
    for file, names in columns.items():
        free = [name for name in dict.fromkeys(names) if name not in own | set(taken)]
        matched[file] = [pattern.matches(free, file, names) for pattern in patterns]
        _check_apart(patterns, matched[file])
    _check_agree(patterns, matched)
    names_taken = {str(spec.get("name")) for spec in declared}
    of_pattern = iter(zip(patterns, next(iter(matched.values())), strict=True))
    fields: list[Any] = []
    for spec in data["fields"]:
        if not _is_pattern(spec):
            fields.append(spec)
            continue
        pattern, found = next(of_pattern)
        for column in found:
            name = column if _PLAIN_NAME.fullmatch(column) else field_name(column, names_taken)
            names_taken.add(name)
            fields.append({**pattern.spec, "name": name, "column": column})
    return {**data, "fields": fields}


def _is_pattern(spec: object) -> bool:
    return isinstance(spec, dict) and "match" in spec


class _Pattern:
    """One pattern, or several, with what its columns have in common.

    Args:
        entry: `match`, perhaps `except`, and what a field says.
        where: Its place in the schema.
    """

    def __init__(self, entry: Mapping[str, Any], where: str) -> None:
        self.where = where
        self.match = _texts(entry["match"], f"{where}.match")
        self.but = _texts(entry["except"], f"{where}.except") if "except" in entry else []
        self.spec = {key: value for key, value in entry.items() if key not in ("match", "except")}
        wrong = [key for key in ("name", "column", "size") if key in self.spec]
        if wrong:
            raise SchemaError(
                f"A pattern stands for many fields, which have no `{wrong[0]}` in common.",
                where=where,
                remedy="Declare that field on its own; it goes before the pattern.",
            )

    def matches(self, free: Sequence[str], file: str, names: Sequence[str]) -> list[str]:
        """Returns the columns that are taken, in the order of the file."""
        unmatched = [
            pattern
            for pattern in (*self.match, *self.but)
            if not any(fnmatchcase(name, pattern) for name in (free if pattern in self.match else names))
        ]
        if unmatched:
            self._nothing(unmatched[0], file, names)
        found = [name for name in free if _any(name, self.match) and not _any(name, self.but)]
        if not found:
            self._nothing(", ".join(self.match), file, names)
        return found

    def _nothing(self, pattern: str, file: str, names: Sequence[str]) -> None:
        used = [name for name in names if fnmatchcase(name, pattern)]
        close = difflib.get_close_matches(_WILDCARDS.sub("", pattern), list(names), n=5, cutoff=0.3)
        shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
        raise SchemaError(
            "A pattern matches no unused column.",
            where=f"{self.where}: {pattern}",
            expected=f"columns of {file}: {shown}",
            found=f"only columns with a use of their own: {', '.join(used[:_SHOWN])}" if used else "no such column",
            remedy=f"Did you mean {' or '.join(map(repr, close))}?" if close and not used else "Correct the pattern.",
        )


def _any(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _texts(value: object, where: str) -> list[str]:
    given = value if isinstance(value, list) else [value]
    texts = [text for text in given if isinstance(text, str) and text]
    if not texts or len(texts) < len(given):
        raise SchemaError(
            "This is not a pattern of columns.", where=where, expected="text, such as 'c*', or a list of such"
        )
    return texts


def _check_apart(patterns: Sequence[_Pattern], matched: Sequence[list[str]]) -> None:
    first: dict[str, _Pattern] = {}
    for pattern, names in zip(patterns, matched, strict=True):
        for name in names:
            other = first.setdefault(name, pattern)
            if other is not pattern:
                raise SchemaError(
                    "Two patterns match one column.",
                    where=f"{pattern.where}: {', '.join(pattern.match)}",
                    found=f"{name!r}, which {', '.join(other.match)} matches too",
                    remedy=f"Give one of them `except: {name}`, or declare the field on its own.",
                )


def _check_agree(patterns: Sequence[_Pattern], matched: Mapping[str, list[list[str]]]) -> None:
    """The columns of a pattern are the same in all files, in any order."""
    (first, wanted), *others = matched.items()
    for file, found in others:
        for pattern, expected, names in zip(patterns, wanted, found, strict=True):
            if differing := sorted(set(expected) ^ set(names)):
                lacks = file if differing[0] in expected else first
                raise SchemaError(
                    "Files do not agree on the columns that a pattern matches.",
                    where=f"{pattern.where}: {', '.join(pattern.match)}",
                    expected=f"the columns of {first} in {file}",
                    found=f"{', '.join(differing[:_SHOWN])}: not in {lacks}",
                    remedy="Leave columns out that not all files have (`except`), or give files of one kind.",
                )
