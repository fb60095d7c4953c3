"""Opens raw files, and checks that their columns are there and of types that fit what they are read for."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa

from distill.data.prepare.listed import check_listed, label_purpose
from distill.data.prepare.source import BATCH_BYTES, RawFiles
from distill.data.prepare.uses import RawShape, Use, needs_time, numeric_columns, raw_uses, time_columns
from distill.data.split import DateSplit, KFoldSplit, SplitRule, UserTimeSplit
from distill.encodings.arrow import family, plain_type
from distill.encodings.tables import ValueKind
from distill.errors import DataError, SchemaError
from distill.schema import FieldSpec, Kind, RawColumns, Schema


def open_files(
    paths: Sequence[Path],
    schema: Schema,
    uses: Sequence[Use],
    batch_bytes: int = BATCH_BYTES,
    raw: RawColumns | None = None,
) -> RawFiles:
    """Opens raw files for some uses of their columns.

    Args:
        paths: The files.
        schema: Says how columns are read.
        uses: Which are read, and what for.
        batch_bytes: Size of a batch in memory, about.
        raw: How they are read, if not as a log is.

    Raises:
        DataError: One is missing, empty or cannot be read.
    """
    needed = [use.column for use in uses]
    return RawFiles(paths, needed, numeric_columns(uses), batch_bytes, time_columns(uses), raw or schema.reading)


def open_checked(
    paths: Sequence[Path], schema: Schema, split: SplitRule | None, batch_bytes: int = BATCH_BYTES
) -> tuple[RawFiles, tuple[Use, ...], RawShape]:
    """Opens raw files and checks that they hold what the schema and the split rule say, before a row is prepared.

    Returns:
        The files, the uses of their columns, and the shape of their rows.

    Raises:
        SchemaError: The schema does not fit the raw files or the split rule.
        DataError: A file cannot be read, or lacks a column, or a type does not fit.
    """
    check_rule(schema, split)
    uses = raw_uses(schema, split)
    check_declared(schema, uses)
    files = open_files(paths, schema, uses, batch_bytes)
    shape = raw_shape(schema, files)
    check_columns(files, uses, shape)
    check_listed(schema, files)
    return files, uses, shape


def check_declared(schema: Schema, uses: Iterable[Use]) -> None:
    """Raises SchemaError if it is declared how to read a column that nothing uses."""
    of_events = {c for task in schema.tasks if task.events for c in (*task.events.by.values(), task.events.time) if c}
    used = sorted({use.column for use in uses} | of_events)
    raw = schema.raw or RawColumns()
    declared = {f"columns.{name}": name for name in raw.columns}
    declared |= {f"delimiters.{name}": name for name in raw.delimiters or ()}
    for key, name in declared.items():
        if name not in used:
            close = difflib.get_close_matches(name, used, n=1)
            raise SchemaError(
                "The schema declares how to read a raw column, but no field, task or key uses the column.",
                where=f"raw.{key}",
                expected=", ".join(used[:30]) + (", …" if len(used) > 30 else ""),
                remedy=f"Did you mean {close[0]!r}?" if close else "Correct the name, or leave it out.",
            )


def check_rule(schema: Schema, split: SplitRule | None) -> None:
    """Raises SchemaError if the split rule needs a key that the schema does not declare."""
    rule = type(split).__name__
    if needs_time(split) and schema.keys.time is None:
        remedy = "Declare the time column"
        remedy += ", or name one of dates: data.adapter.split.column=…" if isinstance(split, DateSplit) else "."
        raise SchemaError(f"{rule} needs times.", where="keys.time", found="nothing", remedy=remedy)
    by_user = isinstance(split, UserTimeSplit) or (isinstance(split, KFoldSplit) and split.by == "user")
    if by_user and schema.keys.user is None:
        raise SchemaError(f"{rule} needs users.", where="keys.user", found="nothing", remedy="Declare the user column.")


def raw_shape(schema: Schema, files: RawFiles) -> RawShape:
    """Tells raw shapes apart by the type of the first label column; by that of the items if all labels are lists of
    these.

    Raises:
        SchemaError: The shape does not fit the layout.
    """
    file = files.files[0]
    named = [(task.column, label_purpose(task)) for task in schema.tasks if task.has_column]
    if not named and schema.layout == "flat" and schema.keys.item is None:
        return "flat"
    column, purpose = named[0] if named else (str(schema.keys.item), "keys.item")
    check_present(column, purpose, Counter(file.schema.names), str(file.path))
    nested = family(plain_type(file.schema.field(column).type)).startswith("list")
    where = f"{file.path}, column {column!r} ({purpose})"
    what = "labels" if named else "items"
    if schema.layout == "flat":
        if nested:
            raise SchemaError(
                f"The layout is flat, but {what} are lists.",
                where=where,
                expected="one row per candidate",
                remedy="Declare `layout: requests`.",
            )
        return "flat"
    if not nested and schema.keys.request is None:
        raise SchemaError(
            "Raw rows are (request, candidate) pairs, but no key says which rows form a request.",
            where=where,
            expected=f"`keys.request`, or columns of {what} that are lists",
            remedy="Declare `keys.request`, or `layout: flat`.",
        )
    return "requests" if nested else "pairs"


def check_present(column: str, purpose: str, names: Counter[str], where: str) -> None:
    """Raises DataError if a column is not among those of a file, with close names, or is there twice.

    Args:
        column: Which.
        purpose: What it is used for.
        names: Columns of the file, and how often each is there.
        where: The file.
    """
    if names[column] == 1:
        return
    if column in names:
        raise DataError(
            "A raw column occurs twice.",
            where=f"{where}, column {column!r} ({purpose})",
            remedy="Rename one of the columns in the file.",
        )
    close = difflib.get_close_matches(column, names, n=3)
    shown = ", ".join(list(names)[:30]) + (", …" if len(names) > 30 else "")
    raise DataError(
        "A raw column is missing.",
        where=f"{where}, column {column!r} ({purpose})",
        found=f"columns {shown}",
        remedy=f"Did you mean {' or '.join(map(repr, close))}?" if close else "Correct the schema or the file.",
    )


def check_columns(files: RawFiles, uses: Iterable[Use], shape: RawShape) -> None:
    """Checks that every file has every column with a type that fits, and that files agree.

    Raises:
        DataError: One does not.
    """
    stored = [(file, file.schema, Counter(file.schema.names)) for file in files.files]
    for use in uses:
        first: tuple[str, str] | None = None
        for file, types, names in stored:
            check_present(use.column, use.purpose, names, str(file.path))
            found = family(plain_type(types.field(use.column).type))
            where = f"{file.path}, column {use.column!r} ({use.purpose})"
            _check_family(found, use, shape, where)
            kind = found.replace("float", "int").replace("bool", "int")
            if "null" in kind:
                continue
            first = first or (kind, str(file.path))
            if kind != first[0]:
                raise DataError(
                    "Raw files do not agree on the type of a column.",
                    where=where,
                    expected=f"{first[0]}, as in {first[1]}",
                    found=found,
                    remedy="Write the files with one type.",
                )


def _check_family(found: str, use: Use, shape: RawShape, where: str) -> None:
    depth = int(shape == "requests" and use.per_candidate) + use.depth
    levels = found.count("list of ")
    leaf = found.replace("list of ", "")
    if (levels == depth or leaf == "null") and leaf in use.families:
        return
    wanted = "list of " * depth + " or ".join(f for f in use.families if f != "null")
    remedy = "Correct the column or its `kind` and `encoding` in the schema."
    if leaf == "time" and "string" in use.families:
        remedy = f"Declare `raw.columns: {{{use.column}: text}}` in the schema to take the times as text."
    if leaf.startswith("struct<"):
        remedy = "Name a part of it by its path, such as `candidates[].sku` or `user.age`."
    elif levels < depth:
        remedy = (
            "Store lists (in raw requests every candidate column is a list), or say in the schema what stands between "
            f"the values of text: `raw.delimiters: {{{use.column}: '|'}}`."
        )
    raise DataError("A raw column has the wrong type.", where=where, expected=wanted, found=found, remedy=remedy)


def table_kinds(files: RawFiles, fields: Iterable[FieldSpec]) -> dict[str, ValueKind]:
    """Returns the type of the values of every embedding table.

    Raises:
        DataError: Fields that share a table hold different types.
    """
    kinds: dict[str, tuple[ValueKind, str]] = {}
    schemas = [file.schema for file in files.files]
    for spec in fields:
        if not spec.encoding.makes_ids:
            continue
        if spec.kind is Kind.TEXT:
            kinds[spec.table] = "string", spec.name
            continue
        types = _types(schemas, spec.column) if spec.made is None else {"string" if spec.by_value else "float"}
        if not types:
            continue
        kind: ValueKind = "string" if "string" in types else "int"
        other = kinds.setdefault(spec.table, (kind, spec.name))
        if other[0] != kind:
            raise DataError(
                "Fields that share a table hold different types.",
                where=f"{files.files[0].path}, {_named(spec)} (field {spec.name!r}, table {spec.table!r})",
                expected=f"{other[0]}, as field {other[1]!r}",
                found=kind,
                remedy="Cast one of the columns, or give the field its own table.",
            )
    return {table: kind for table, (kind, _) in kinds.items()}


def _types(schemas: Iterable[pa.Schema], column: str) -> set[str]:
    found = {family(plain_type(types.field(column).type)).replace("list of ", "") for types in schemas}
    return found - {"null"}


def _named(spec: FieldSpec) -> str:
    return f"column {spec.column!r}" if spec.made is None else f"`made.type: {spec.made.type}`"
