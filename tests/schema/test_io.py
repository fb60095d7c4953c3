from pathlib import Path
from typing import Any

import pytest

from distill.errors import SchemaError
from distill.schema import Schema, dump_schema, load_schema, parse_schema, save_schema


def _data() -> dict[str, Any]:
    return {
        "name": "tiny",
        "layout": "requests",
        "keys": {"request": "rid", "user": "uid", "item": "item", "stage": "stage"},
        "fields": [
            {"name": "uid", "side": "request", "kind": "id", "encoding": {"type": "hash", "buckets": 10}},
            {"name": "past", "side": "request", "kind": "sequence", "table": "item", "max_length": 5},
            {"name": "item", "side": "candidate", "kind": "id", "table": "item"},
            {"name": "price", "side": "candidate", "kind": "number", "encoding": "log", "nan": "missing"},
            {"name": "vector", "side": "cross", "kind": "vector", "width": 3, "privileged": True},
        ],
        "tasks": [{"name": "click", "observed": "exposed"}, {"name": "buy", "observed": "click", "weight": 2.0}],
        "score": {"tasks": {"click": 1.0, "buy": 0.5}, "columns": {"bid": 1.0}},
        "evaluation": ["utility", "bid"],
        "teacher": {"columns": {"click": "score"}, "kind": "probability"},
    }


def _schema(**changes: Any) -> Schema:
    return parse_schema({**_data(), **changes}, "x.yaml")


def _fails(match: str, **changes: Any) -> None:
    with pytest.raises(SchemaError, match=match) as caught:
        _schema(**changes)
    assert "x.yaml" in str(caught.value)


def _with_hidden(name: str, **spec: Any) -> dict[str, Any]:
    return {"columns": {"click": "score"}, "kind": "logit", "hidden": {name: spec}}


def _with_field(index: int, **changes: Any) -> list[dict[str, Any]]:
    fields: list[dict[str, Any]] = _data()["fields"]
    fields[index] = {k: v for k, v in {**fields[index], **changes}.items() if v is not None}
    return fields


def _with_stages(values: dict[Any, str]) -> dict[str, Any]:
    return {"request": "rid", "stage": {"column": "stage", "values": values}}


def test_round_trip(tmp_path: Path) -> None:
    schema = _schema()
    save_schema(schema, tmp_path / "schema.yaml")
    assert load_schema(tmp_path / "schema.yaml") == schema
    assert dump_schema(load_schema(tmp_path / "schema.yaml")) == dump_schema(schema)


def test_defaults() -> None:
    schema = _schema()
    assert schema.field("item").encoding.type == "vocabulary"
    assert schema.field("vector").encoding.type == "identity"
    assert schema.field("price").column == "price"
    assert schema.field("uid").table == "uid"
    assert schema.keys.stage is not None
    assert schema.keys.stage.column == "stage"
    assert schema.tasks[0].column == "click"
    assert schema.task_names == ("click", "buy")
    assert schema.value_columns == ("bid", "utility")
    number = parse_schema({**_data(), "fields": [{"name": "n", "side": "cross", "kind": "number"}]}, "x")
    assert number.field("n").encoding.type == "standardise"


def test_sides_and_serving_view() -> None:
    schema = _schema()
    assert [f.name for f in schema.fields if f.is_id] == ["uid", "item"]
    assert [f.name for f in schema.fields if f.is_number] == ["price"]
    assert [f.name for f in schema.serving_view().fields] == ["uid", "past", "item", "price"]
    with pytest.raises(KeyError):
        schema.field("nothing")


@pytest.mark.parametrize(
    ("match", "changes"),
    [
        (r"Unknown key 'kindd'(.|\n)*fields\[3\] \(price\)(.|\n)*'kind'", {"fields": _with_field(3, kindd="id")}),
        (r"'side' is missing(.|\n)*fields\[2\] \(item\)", {"fields": _with_field(2, side=None)}),
        (r"fields\[2\] \(item\)\.side(.|\n)*'items'", {"fields": _with_field(2, side="items")}),
        (r"makes ids(.|\n)*fields\[2\] \(item\)", {"fields": _with_field(2, encoding="log")}),
        (r"identity, not 'log'", {"fields": _with_field(4, encoding="log")}),
        (r"needs its `width`", {"fields": _with_field(4, width=None)}),
        (r"`width` belongs to vectors", {"fields": _with_field(3, width=3)}),
        (r"`max_length` belongs to sequences", {"fields": _with_field(2, max_length=3)}),
        (r"share table 'item' but encode differently", {"fields": _with_field(2, encoding={"type": "ids", "size": 3})}),
        (r"share table 'item' but differ in embedding_dim", {"fields": _with_field(2, embedding_dim=8)}),
        (r"field 'item' is declared twice", {"fields": [*_data()["fields"], _data()["fields"][2]]}),
        (r"task 'click' is declared twice", {"tasks": [{"name": "click"}, {"name": "click"}]}),
        (r"must be all, exposed or another task", {"tasks": [{"name": "click", "observed": "click"}]}),
        (r"`keys.stage` is not declared", {"keys": {"request": "rid"}}),
        (r"score: unknown task 'cart'", {"score": {"tasks": {"cart": 1.0}}}),
        (r"teacher: unknown task 'cart'", {"teacher": {"columns": {"cart": "s"}, "kind": "logit"}}),
        (r"Nothing is declared here", {"teacher": {"columns": {}, "kind": "logit"}}),
        (
            r"Unknown key 'tpye'(.|\n)*teacher\.hidden\.body(.|\n)*'type'",
            {
                "teacher": {
                    "columns": {"click": "s"},
                    "kind": "logit",
                    "hidden": {"body": {"column": "v", "width": 2, "tpye": 1}},
                }
            },
        ),
        (
            r"pattern(.|\n)*teacher\.hidden",
            {"teacher": _with_hidden("a b", column="v", width=2)},
        ),
        (r"Unknown key 'evalution'(.|\n)*'evaluation'", {"evalution": []}),
        (r"Unknown key 'qqq'(.|\n)*keys here are", {"qqq": []}),
        (
            r"null cannot stand here(.|\n)*keys\.stage\.missing(.|\n)*keys\.stage\.values",
            {"keys": _with_stages({None: "exposed"})},
        ),
        (r"mapped twice(.|\n)*keys\.stage\.values", {"keys": _with_stages({1: "exposed", "1": "ranked"})}),
        (r"layout", {"layout": "nested"}),
        (r"keys", {"keys": {"requests": "rid"}}),
        (r"encoding", {"fields": _with_field(2, encoding={"type": "vocab"})}),
    ],
)
def test_mistakes_are_located(match: str, changes: dict[str, Any]) -> None:
    _fails(match, **changes)


def test_all_mistakes_are_said_up_to_a_bound() -> None:
    tasks = [{"name": "click", "knd": "binary"}, {"name": "a b"}, {"kind": "ternary", "name": "buy"}]
    with pytest.raises(SchemaError) as error:
        parse_schema({**_data(), "tasks": tasks, "layout": "nested"}, "x")
    text = str(error.value)
    assert error.value.problem == "Unknown key 'knd'."
    assert error.value.remedy == "Did you mean 'kind'?"
    assert "3 more: " in text
    for place in ("layout", "tasks[1] (a b).name", "tasks[2] (buy).kind"):
        assert place in text
    with pytest.raises(SchemaError, match=r"11 more: (.|\n)*…"):
        parse_schema({**_data(), "tasks": [{"name": f"a {i}"} for i in range(12)]}, "x")


def test_the_values_of_a_stage_may_be_numbers() -> None:
    stage = {"column": "stage", "values": {1: "exposed", 0: "recalled", "x": "ranked"}}
    keys = parse_schema({**_data(), "keys": {"request": "rid", "stage": stage}}, "x").keys
    assert keys.stage is not None
    assert keys.stage.values == {"1": "exposed", "0": "recalled", "x": "ranked"}


def test_keys_that_are_no_text_are_to_be_quoted() -> None:
    _fails(r"score\.columns(.|\n)*found: +1(.|\n)*Quote it: '1'", score={"columns": {1: 1.0}})


def test_not_a_schema(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"does not exist(.|\n)*nothing\.yaml"):
        load_schema(tmp_path / "nothing.yaml")
    path = tmp_path / "bad.yaml"
    path.write_text("a: [1")
    with pytest.raises(SchemaError, match=r"cannot be read as YAML(.|\n)*bad\.yaml"):
        load_schema(path)
    path.write_text("- 1")
    with pytest.raises(SchemaError, match=r"must be a mapping(.|\n)*list"):
        load_schema(path)
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(SchemaError, match=r"bad\.yaml"):
        load_schema(path)


def test_text_that_no_file_can_hold_is_refused() -> None:
    data = {
        "name": "x",
        "layout": "flat",
        "fields": [{"name": "item", "side": "candidate", "kind": "id", "column": "a\ud800"}],
        "tasks": [{"name": "click"}],
    }
    with pytest.raises(SchemaError, match="half a surrogate pair"):
        parse_schema(data, "here")


def test_values_of_the_stage_may_be_numbers_and_booleans(tmp_path: Path) -> None:
    for values, expected in (
        ("{1: exposed, 0.0: ranked, x: recalled}", {"1": "exposed", "0": "ranked", "x": "recalled"}),
        ("{true: exposed, false: recalled}", {"true": "exposed", "false": "recalled"}),
    ):
        text = dump_schema(_schema()).replace("column: stage", f"column: stage\n    values: {values}")
        (tmp_path / "schema.yaml").write_text(text)
        found = load_schema(tmp_path / "schema.yaml").keys.stage
        assert found is not None
        assert found.values == expected
