"""Fields of a schema that are made of other raw columns."""

from __future__ import annotations

from typing import Any

import pytest

from distill.errors import SchemaError
from distill.schema import FieldSpec, Schema, Side, dump_schema, parse_schema
from distill.schema.plain_yaml import read_yaml

FIELDS: list[dict[str, Any]] = [
    {"name": "past", "side": "request", "kind": "sequence", "column": "past_brands"},
    {"name": "user", "side": "request", "kind": "id"},
    {"name": "brand", "side": "candidate", "kind": "id"},
    {"name": "price", "side": "candidate", "kind": "number"},
    {"name": "dwell", "side": "cross", "kind": "number", "privileged": True},
]
SEEN = {"column": "seen_at", "side": "request"}


def schema(*fields: dict[str, Any], **more: Any) -> Schema:
    tasks = [{"name": "click"}]
    data = {"name": "x", "layout": "requests", "keys": {"item": "item"}, "tasks": tasks, **more}
    return parse_schema({**data, "fields": [*FIELDS, *fields]}, "schema.yaml")


def made(how: str, *of: Any, **more: Any) -> dict[str, Any]:
    rule = {key: more.pop(key) for key in ("unit", "epoch", "otherwise") if key in more}
    kind = "id" if how == "combine" else "number"
    return {"name": "m", "kind": kind, **more, "made": {"type": how, "of": [*of], **rule}}


def field(*of: Any, kind: str = "match", **more: Any) -> FieldSpec:
    return schema(made(kind, *of, **more)).fields[-1]


def test_names_of_fields_stand_for_their_columns_and_sides() -> None:
    found = field("past", "brand")
    assert found.made is not None
    assert [(s.column, s.side, s.list) for s in found.made.of] == [
        ("past_brands", Side.REQUEST, True),
        ("brand", Side.CANDIDATE, False),
    ]
    assert found.column == ""


@pytest.mark.parametrize(
    ("kind", "of", "side"),
    [
        ("match", ("past", "brand"), Side.CROSS),
        ("match", ("past", "user"), Side.REQUEST),
        ("combine", ("brand", {"column": "code", "side": "candidate"}), Side.CANDIDATE),
        ("ratio", ("price", {"column": "rank", "side": "cross"}), Side.CROSS),
    ],
)
def test_the_side_follows_from_the_columns(kind: str, of: tuple[Any, ...], side: Side) -> None:
    assert field(*of, kind=kind).side is side
    assert field(*of, kind=kind, side=side.value).side is side


def test_what_is_made_of_a_privileged_column_is_privileged() -> None:
    assert field("dwell", "price", kind="ratio").privileged
    assert field({"column": "dwell", "side": "cross"}, "price", kind="ratio").privileged
    assert not field("price", SEEN, kind="ratio").privileged
    assert [f.name for f in schema(made("ratio", "dwell", "price")).serving_view().fields] == [
        "past",
        "user",
        "brand",
        "price",
    ]


def test_a_written_schema_is_read_as_it_was() -> None:
    own = schema(made("difference", SEEN, {"column": "added", "side": "candidate"}, unit="hours", epoch="seconds"))
    assert parse_schema(read_yaml(dump_schema(own)), "again") == own


def test_lists_that_are_only_compared_may_be_text() -> None:
    own = schema(
        made("match", {"column": "liked", "side": "request", "list": True}, "brand"), raw={"delimiters": {"liked": "|"}}
    )
    assert own.value_reading.delimiters == {"liked": "|"}


def test_making_says_everything_but_the_names_of_columns() -> None:
    one = field("price", SEEN, kind="difference", otherwise=0)
    assert one.making == "difference of candidate value and request value, otherwise 0.0"
    assert field({"column": "cost", "side": "candidate"}, SEEN, kind="difference", otherwise=0).making == one.making
    assert schema().fields[0].making == ""


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (made("match", "past", "brnd"), r"field 'm', made.of: there is no field 'brnd'"),
        (made("match", "past", "price"), "'price' is a field of kind number, and match reads ids"),
        (made("ratio", "brand", "price"), "'brand' is a field of kind id, and ratio reads numbers"),
        (made("match", "past", "brand", side="request"), r"side of what `made.of` names is cross, not request"),
        (made("match", "past", "brand", kind="id"), "makes a field of kind number, not id"),
        (made("combine", "user", "brand", kind="number"), "makes a field of kind id, not number"),
        (made("combine", "user", "past"), "'past_brands' is declared a list"),
        (made("combine", "user"), "at least 2 items"),
        (made("match", "user", "past", "brand"), "at most 2 items"),
        (made("overlap", "user", "brand"), "counts in a list"),
        (made("ratio", "price", SEEN, column="price"), "`made` stands in place of `column`"),
        (made("ratio", "price", SEEN, encoding={"type": "ids", "size": 3}), "makes a measured number"),
        (made("combine", "user", "brand", encoding={"type": "ids", "size": 3}), "makes text"),
        (made("difference", "price", SEEN, epoch="seconds"), "say their `unit`"),
        (made("difference", "price", SEEN, unit="weeks"), "'seconds', 'minutes', 'hours' or 'days'"),
        (made("match", "past", {"column": "x"}), "'side' is missing"),
        (made("match", "past", {"colum": "x", "side": "request"}), r"Unknown key 'colum'(.|\n)*Did you mean 'column'"),
        (made("share", "past", "brand"), "share"),
        (made("match", "past", "brand", max_length=3), "`max_length` belongs to sequences"),
        (made("combine", "user", "brand", otherwise=1), "Unknown key 'otherwise'"),
        (made("match", "past", 7), "made.match.of"),
    ],
)
def test_mistakes_name_the_key(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(SchemaError, match=said):
        schema(spec)


def test_nothing_is_made_of_what_is_made() -> None:
    with pytest.raises(SchemaError, match="'m' is made of other columns itself"):
        schema(made("match", "past", "brand"), {**made("ratio", "m", "price"), "name": "n"})


def test_a_combined_id_may_be_cold() -> None:
    own = schema(made("combine", "brand", {"column": "code", "side": "candidate"}, cold=["brand"]))
    assert own.groups_of(own.fields[-1])[0].name == "brand"
