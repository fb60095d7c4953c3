"""Fields written as a mapping, with defaults of their kind, and as patterns of columns."""

from __future__ import annotations

from typing import Any

import pytest

from distill.errors import SchemaError
from distill.schema import Schema, dump_schema, parse_schema

WIDE: dict[str, Any] = {
    "name": "wide",
    "layout": "flat",
    "keys": {"time": "t", "item": "c_item", "stage": {"column": "c_stage"}},
    "tasks": [{"name": "click", "column": "c_lick"}],
    "teacher": {"columns": {"click": "c_teacher"}, "kind": "logit"},
    "evaluation": ["c_utility"],
    "weight": "c_weight",
    "score": {"columns": {"c_bid": 1.0}},
}
USED = ["c_item", "c_stage", "c_lick", "c_teacher", "c_utility", "c_weight", "c_bid"]
COLUMNS = ["c2", "i1", "t", *USED, "c10", "c_split", "i2", "c1", "207"]
CANDIDATE = {"side": "candidate", "kind": "id"}
NUMBER = {"side": "request", "kind": "number", "encoding": "log"}


def _expand(fields: Any, *files: list[str], **changes: Any) -> Schema:
    columns = {f"file{i}": names for i, names in enumerate(files or [COLUMNS])}
    return parse_schema({**WIDE, "fields": fields, **changes}, "x.yaml", lambda: columns, ["c_split"])


def _fails(match: str, fields: Any, *files: list[str], **changes: Any) -> SchemaError:
    with pytest.raises(SchemaError, match=match) as caught:
        _expand(fields, *files, **changes)
    assert "x.yaml" in str(caught.value)
    return caught.value


def test_patterns_take_the_free_columns_in_the_order_of_the_file() -> None:
    fields = {"c*": CANDIDATE, "i*": NUMBER}
    schema = _expand(fields)
    assert [field.name for field in schema.fields] == ["c2", "c10", "c1", "i1", "i2"]
    assert [field.side.value for field in schema.fields] == ["candidate"] * 3 + ["request"] * 2
    assert schema.fields[-1].encoding.type == "log"
    assert _expand([{"match": key, **spec} for key, spec in fields.items()]) == schema
    named = [{"name": f.name, **(CANDIDATE if f.name[0] == "c" else NUMBER)} for f in schema.fields]
    plain = parse_schema({**WIDE, "fields": named}, "y.yaml")
    assert dump_schema(schema) == dump_schema(plain), "what comes after sees plain fields"


def test_declared_fields_go_before_patterns() -> None:
    """By their name and by their column, wherever they stand."""
    rare = {"name": "rare", "column": "c1", **CANDIDATE, "encoding": {"type": "hash", "buckets": 9}}
    schema = _expand([{"match": "c*", **CANDIDATE}, rare, {"name": "c2", **NUMBER}])
    assert [(f.name, f.column) for f in schema.fields] == [("c10", "c10"), ("rare", "c1"), ("c2", "c2")]
    assert _expand([{"name": "c_item", **CANDIDATE}, {"match": "c1*", **CANDIDATE}]).fields[0].name == "c_item"


def test_columns_can_be_left_out_and_get_names() -> None:
    schema = _expand([{"match": ["c?", "c??", "2*"], "except": "c2", **CANDIDATE, "table": "shared"}])
    assert [(f.name, f.column, f.table) for f in schema.fields] == [
        ("c10", "c10", "shared"),
        ("c1", "c1", "shared"),
        ("f_207", "207", "shared"),
    ]


def test_defaults_go_by_kind() -> None:
    """What a field says itself goes before them."""
    hashed = {"type": "hash", "buckets": 50}
    schema = _expand(
        {"c*": CANDIDATE, "i1": {**NUMBER, "encoding": "identity"}, "i2": {"side": "request", "kind": "number"}},
        defaults={"id": {"encoding": hashed, "embedding_dim": 4}, "number": {"nan": "missing", "encoding": "log"}},
    )
    assert [f.encoding.type for f in schema.fields] == ["hash"] * 3 + ["identity", "log"]
    assert [f.embedding_dim for f in schema.fields] == [4] * 3 + [None] * 2
    assert [f.nan for f in schema.fields] == ["error"] * 3 + ["missing"] * 2


def test_files_may_order_their_columns_as_they_like() -> None:
    other = ["more", *reversed(COLUMNS)]
    assert _expand({"c*": CANDIDATE}, COLUMNS, other) == _expand({"c*": CANDIDATE})


@pytest.mark.parametrize(
    ("match", "fields", "changes"),
    [
        ("no unused column.*(?s:.)*Did you mean.*'c10'", {"cc1*": CANDIDATE}, {}),
        ("only columns with a use of their own: c_item", {"c_i*": CANDIDATE}, {}),
        ("Two patterns match one column(?s:.)*'c1'(?s:.)*except", {"c*": CANDIDATE, "?1": CANDIDATE}, {}),
        ("no `column` in common", [{"match": "c*", "column": "c", **CANDIDATE}], {}),
        ("says it a second time", {"c1": {"name": "c1", **CANDIDATE}}, {}),
        ("A field must be a mapping", {"c1": "id"}, {}),
        ("not a pattern of columns", [{"match": [], **CANDIDATE}], {}),
        ("A pattern matches no unused column", [{"match": "c*", "except": "zz", **CANDIDATE}], {}),
        ("must be text", {1: CANDIDATE}, {}),
        ("Defaults must be given by kind", {"c*": CANDIDATE}, {"defaults": {"ids": {}}}),
        ("not a default of fields", {"c*": CANDIDATE}, {"defaults": {"id": {"table": "c"}}}),
        ("Unknown key 'mach'(?s:.)*'match'", [{"mach": "c*", **CANDIDATE}], {}),
        ("Key 'side' is missing", {"c*": {"kind": "id"}}, {}),
        ("Unknown key 'default'(?s:.)*'defaults'", {"c*": CANDIDATE}, {"default": {}}),
    ],
)
def test_mistakes_are_named(match: str, fields: Any, changes: dict[str, Any]) -> None:
    _fails(match, fields, **changes)


def test_files_that_differ_are_refused() -> None:
    error = _fails("do not agree on the columns", {"c?": CANDIDATE}, COLUMNS, [*COLUMNS, "c3"])
    assert "c3: not in file0" in str(error)


def test_a_schema_of_prepared_data_has_no_patterns() -> None:
    with pytest.raises(SchemaError, match="Patterns stand for columns of raw files"):
        parse_schema({**WIDE, "fields": {"c*": CANDIDATE}}, "x.yaml")


def test_a_mapping_without_patterns_needs_no_files() -> None:
    schema = parse_schema({**WIDE, "fields": {"c1": CANDIDATE, "size": {**NUMBER, "column": "i1"}}}, "x.yaml")
    assert [(f.name, f.column) for f in schema.fields] == [("c1", "c1"), ("size", "i1")]
