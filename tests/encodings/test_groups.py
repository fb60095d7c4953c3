"""What stands for values that a vocabulary does not know: groups of those that it knows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from distill.encodings import FittedEncodings
from distill.encodings.groups import FittedGroups, group_table
from distill.encodings.rows import NotPlainError, RowEncoder
from distill.encodings.same_rows import rows_of_groups, same_rows
from distill.encodings.saved import differing
from distill.encodings.tables import FittedHash, FittedIds, FittedVocabulary
from distill.errors import SchemaError
from distill.schema import Schema, Side, parse_schema

ITEM = {"name": "item", "side": "candidate", "kind": "id", "cold": ["category", "brand"]}
CATEGORY = {"name": "category", "side": "candidate", "kind": "id"}
BRAND = {"name": "brand", "side": "candidate", "kind": "id"}


def schema(*fields: dict[str, object]) -> Schema:
    found = [*fields, {"name": "past", "side": "request", "kind": "sequence", "table": "item"}]
    return parse_schema({"name": "s", "layout": "flat", "fields": found, "tasks": [{"name": "y"}]}, "s")


def words(*values: str, groups: FittedGroups | None = None) -> FittedVocabulary:
    return FittedVocabulary(pa.array(values, pa.string()), np.ones(len(values), np.int64), groups)


def groups(*rows: tuple[int, int], min_ids: int = 1) -> FittedGroups:
    return FittedGroups(("category", "brand"), min_ids, np.array(rows, np.int32).reshape(-1, 2))


# Categories are x 2 and y 3, brands p 2 and q 3; the brand of d is not known, and nothing of e is.
OF_VALUE = [(2, 2), (2, 3), (3, 2), (3, 1), (0, 2)]


def encodings(least: int = 1, items: str = "abcde") -> FittedEncodings:
    of_value = groups(*OF_VALUE[: len(items)], min_ids=least)
    return FittedEncodings(
        {"item": words(*items, groups=of_value), "category": words("x", "y"), "brand": words("p", "q")}, {}
    )


def test_groups_are_what_values_agree_in_first_then_also_second() -> None:
    found = groups(*OF_VALUE)
    assert found.keys.tolist() == [[2, 0], [3, 0], [2, 2], [2, 3], [3, 2]]
    assert found.members.tolist() == [[0, 2], [0, 3], [1, 4], [1, -1], [-1, -1]]
    rows = np.array([[2, 2], [2, 9], [3, 3], [9, 2], [0, 2], [1, 2], [3, 0]])
    assert found.find(rows).tolist() == [2, 0, 1, -1, -1, -1, 1]


def test_small_groups_are_none() -> None:
    found = groups(*OF_VALUE, min_ids=2)
    assert found.keys.tolist() == [[2, 0], [3, 0]]
    assert found.find(np.array([[2, 2], [3, 2], [4, 2]])).tolist() == [0, 1, -1]
    assert groups(*OF_VALUE, min_ids=3).count == 0
    assert groups().find(np.array([[2, 2]])).tolist() == [-1]


def test_the_table_says_whose_member_each_id_is() -> None:
    table = group_table(groups(*OF_VALUE, min_ids=2))  # groups have ids 7 and 8
    assert table.tolist() == [[0, 0]] * 2 + [[7, 0], [7, 0], [8, 0], [8, 0], [0, 0]] + [[0, 0]] * 2


def test_unknown_values_have_the_id_of_their_smallest_known_group() -> None:
    spec = schema(ITEM, CATEGORY, BRAND)
    table = pa.table({
        "item": ["a", "new", "new", "new", None, "new"],
        "category": ["y", "x", "x", "z", "x", None],
        "brand": ["q", "q", "other", "p", "p", "p"],
        "past": [["a", "new"], [], [], [], [], []],
    })  # fmt: skip
    fitted = encodings()
    found = fitted.apply(table, spec.fields)
    # Known: its own. Groups: x 7, y 8, (x, p) 9, (x, q) 10, (y, p) 11. Sequences have no group.
    assert found["item"].to_pylist() == [2, 10, 7, 1, 0, 1]
    assert found["past"].to_pylist()[0] == [2, 1]
    assert fitted.sized(spec).field("past").size == fitted.sized(spec).field("item").size == 12
    columns = [(spec.field(n), table[n].combine_chunks(), place(n)) for n in ("item", "category", "brand")]
    item = fitted.encode(*columns[0], by=columns[1:])
    assert (item.oov.tolist(), item.grouped.tolist()) == ([1, 2, 3, 5], [1, 2])


def place(name: str) -> object:
    from distill.encodings.place import Place

    return Place(name, f"field {name!r}")


def test_they_come_back_from_where_they_are_saved() -> None:
    packed = encodings(2).packed()
    again = FittedEncodings.unpacked(packed)
    assert again.packed().saved == packed.saved
    (one, other) = (table.groups for table in (again.tables["item"], encodings(2).tables["item"]))  # type: ignore[attr-defined]
    assert one.of_value.tolist() == other.of_value.tolist()
    assert (one.by, one.min_ids) == (("category", "brand"), 2)
    assert "groups" not in packed.saved.model_dump()["tables"]["category"]  # as it was written before there were any


@pytest.mark.parametrize("change", ["members", "least", "category"])
def test_the_identity_of_the_field_covers_them(change: str) -> None:
    spec = schema(ITEM, CATEGORY, BRAND)
    item = [spec.field("item")]
    one, other = encodings(), encodings(2 if change == "least" else 1)
    if change == "members":
        other = FittedEncodings({**other.tables, "item": words(*"abcde", groups=groups(*OF_VALUE[:4], (2, 2)))}, {})
    if change == "category":
        other = FittedEncodings({**other.tables, "category": words("y", "x")}, {})
    assert differing(item, one.packed().saved, item, other.packed().saved) == ["item"]
    assert differing(item, one.packed().saved, item, encodings().packed().saved) == []


def test_rows_follow_their_groups_wherever_ids_are_now() -> None:
    old = encodings()
    tables = {
        "item": words("n", "a", "m", groups=groups((2, 3), (3, 3), (9, 2))),
        "category": words("y", "x", *"stuvwz"),
        "brand": words("q", "p"),
    }
    new = FittedEncodings(tables, {})  # groups: y 5, x 6, z 7, (y, p) 8, (x, p) 9, (z, q) 10
    assert same_rows(new.tables["item"], old.tables["item"]).tolist() == [0, 1, -1, 2, -1] + [-1] * 6
    # Old groups: x 7, y 8, (x, p) 9, (x, q) 10, (y, p) 11.
    assert rows_of_groups(new, old, "item").tolist() == [-1, -1, 11, 9, -1, 8, 7, -1, 11, 9, -1]
    plain = FittedEncodings({**old.tables, "item": words(*"abcde")}, {})
    assert set(rows_of_groups(new, plain, "item")) == {-1}
    assert set(rows_of_groups(new, old, "category")) == {-1}


def test_ids_of_groups_may_be_hashed_or_numbers() -> None:
    spec = schema(
        ITEM,
        {**CATEGORY, "encoding": {"type": "ids", "size": 3}},
        {**BRAND, "encoding": {"type": "hash", "buckets": 1}},
    )
    fitted = FittedEncodings(
        {"item": words("a", groups=groups((2, 2))), "category": FittedIds(3), "brand": FittedHash(1, "string")}, {}
    )
    table = pa.table({"item": ["b", "b"], "category": [0, 1], "brand": ["any", "any"], "past": [[], []]})
    table = table.set_column(3, "past", pa.array([[], []], pa.list_(pa.string())))
    assert fitted.apply(table, spec.fields)["item"].to_pylist() == [4, 1]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ([{**ITEM, "cold": ["colour"]}], "there is no field 'colour'"),
        ([{**ITEM, "cold": []}, CATEGORY], "Nothing is declared here"),
        ([{**ITEM, "cold": ["category", "category"]}, CATEGORY], "declared twice"),
        ([{**ITEM, "cold": ["category"]}, {**CATEGORY, "side": "request"}], "same side"),
        ([{**ITEM, "cold": ["category"]}, {**CATEGORY, "kind": "number"}], "kind id"),
        (
            [{**ITEM, "cold": ["category"]},
             {**CATEGORY, "kind": "number", "encoding": {"type": "quantile", "buckets": 3}}],
            "an id by value",
        ),
        ([{**ITEM, "cold": ["category"]}, {**CATEGORY, "privileged": True}], "privileged"),
        ([{**ITEM, "cold": ["category"]}, {**CATEGORY, "table": "item"}], "table of the field itself"),
        ([{**ITEM, "encoding": {"type": "hash", "buckets": 3}}, CATEGORY, BRAND], "with a vocabulary"),
        ([{**ITEM, "cold": {"by": ["category"], "least": 3}}, CATEGORY], "Unknown key 'least'"),
        ([ITEM, CATEGORY, BRAND, {**ITEM, "name": "other", "table": "item", "cold": ["category"]}], "differ in `cold`"),
    ],
)  # fmt: skip
def test_groups_that_cannot_be(fields: list[dict[str, object]], says: str) -> None:
    with pytest.raises(SchemaError, match=says.replace("(", r"\(")):
        schema(*fields)


def test_the_names_of_the_fields_are_enough() -> None:
    item = schema(ITEM, CATEGORY, BRAND).field("item")
    assert item.cold is not None
    assert (item.cold.by, item.cold.min_ids) == (("category", "brand"), 1)
    assert replace(groups(*OF_VALUE), min_ids=2).count == 2


def test_one_row_of_plain_values_leaves_groups_to_columns() -> None:
    """The quick way of a server does not know groups: it hands such a row on, and encodes known values alone."""
    fields = schema(ITEM, CATEGORY, BRAND).side(Side.CANDIDATE)
    encoder = RowEncoder(fields, encodings())
    assert encoder.encode({"item": "a", "category": "x", "brand": "p"}).ids.tolist() == [[2, 2, 2]]
    with pytest.raises(NotPlainError):
        encoder.encode({"item": "new", "category": "x", "brand": "p"})
