"""Whether a proposal is a schema already, and whether the files hold what it says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distill.data.prepare.plan import open_checked, table_kinds
from distill.data.split import SplitRule
from distill.schema import load_schema, parse_schema
from distill.schema.plain_yaml import read_yaml


def missing_parts(path: Path) -> list[str]:
    """Lists which of `fields` and `tasks` a written proposal leaves to the user; the rest of it is checked.

    Raises:
        SchemaError: The rest is not a schema.
    """
    data = read_yaml(path.read_text(encoding="utf-8"))
    stand_in = {"fields": [{"name": "field", "side": "candidate", "kind": "id"}], "tasks": [{"name": "task"}]}
    missing = [part for part in stand_in if not data[part]]
    parse_schema({**data, **{part: stand_in[part] for part in missing}}, str(path))
    return missing


def check_against(path: Path, files: Sequence[Path], split: SplitRule) -> None:
    """Checks a schema against raw files as `prepare` does before it reads their rows.

    Raises:
        SchemaError: It is not a schema, or does not fit the files or the split rule.
        DataError: A file cannot be read, or lacks a column, or a type does not fit.
    """
    schema = load_schema(path)
    opened, _, _ = open_checked(files, schema, split)
    table_kinds(opened, schema.fields)
