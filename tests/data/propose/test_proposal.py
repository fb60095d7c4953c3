"""Whole proposals, and their text: what a user gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.data.propose import (
    Proposal,
    Sample,
    check_against,
    dataset_name,
    missing_parts,
    propose,
    read_sample,
    schema_text,
)
from distill.data.propose.encoding import MANY
from distill.data.propose.fields import are_chosen, shares_values
from distill.data.propose.text import comment, flow
from distill.data.propose.values import Values
from distill.data.split import TimeSplit
from distill.schema import load_schema
from distill.schema.plain_yaml import read_yaml

RNG = np.random.default_rng(1)
REQUESTS, ITEMS, PER = 60, 12, 5


def pairs() -> dict[str, Any]:
    """60 requests of five candidates of twelve items, with a column of each sort."""
    request = np.repeat(np.arange(REQUESTS), PER)
    item = RNG.integers(0, ITEMS, REQUESTS * PER)
    click = RNG.integers(0, 2, len(item))
    history = [[int(i) for i in RNG.integers(0, ITEMS, 4)] for _ in range(REQUESTS)]
    return {
        "search_id": 1000 + request,
        "user_id": request % 20,
        "ts": 1_740_000_000 + 60 * request,
        "item_id": item,
        "price": np.exp(item.astype(float)),
        "match": RNG.normal(0, 1, len(item)),
        "history": [history[r] for r in request],
        "image": [[float(i), 0.5] for i in item],
        "position": np.tile(np.arange(PER), REQUESTS),
        "paid_eur": np.where(click * (item % 2) == 1, RNG.random(len(item)), np.nan),
        "state": np.where(click == 1, "shown", "recalled"),
        "prod_ctr": RNG.random(len(item)),
        "fixed": np.ones(len(item)),
        "weird": [{"a": 1}] * len(item),
        "click": click,
        "buy": click * (item % 2),
    }


def propose_of(columns: dict[str, Any]) -> Proposal:
    arrays = {name: pa.array(values) for name, values in columns.items()}
    return propose(Sample(arrays, len(next(iter(arrays.values()))), 1, 1))


def fields_of(proposal: Proposal) -> dict[str, dict[str, Any]]:
    return {line.column: {k: v for k, v in line.spec.items() if k != "name"} for line in proposal.fields if line.used}


def test_pairs_with_all_keys() -> None:
    found = propose_of(pairs())
    assert {key: line.column for key, line in found.keys.items() if line.used} == {
        "request": "search_id",
        "user": "user_id",
        "item": "item_id",
        "time": "ts",
    }
    assert fields_of(found) == {
        "user_id": {"side": "request", "kind": "id"},
        "item_id": {"side": "candidate", "kind": "id"},
        "price": {"side": "candidate", "kind": "number", "encoding": "log"},
        "match": {"side": "cross", "kind": "number"},
        "history": {"side": "request", "kind": "sequence", "max_length": 4, "table": "item_id"},
        "image": {"side": "candidate", "kind": "vector", "width": 2},
        "position": {"side": "cross", "kind": "id", "privileged": True},
        "paid_eur": {"side": "cross", "kind": "number", "nan": "missing", "privileged": True},
    }
    assert [line.spec for line in found.tasks] == [{"name": "click"}, {"name": "buy"}]
    assert "`observed: click`" in found.tasks[1].why
    assert found.teacher is not None
    assert found.teacher.spec == {"columns": {"click": "prod_ctr"}, "kind": "probability"}
    stage = found.keys["stage"]
    assert not stage.used
    assert stage.spec == {"column": "state", "values": {"shown": "exposed", "recalled": "recalled"}}
    assert (found.split, found.main_task) == ("time", "click")
    left_out = {line.column for line in found.fields if not line.used}
    assert left_out == {"state", "prod_ctr", "fixed", "weird"}


def test_requests_with_lists() -> None:
    rows = pairs()
    columns: dict[str, Any] = {name: rows[name][::PER] for name in ("search_id", "user_id", "ts", "history")}
    for name in ("item_id", "price", "match", "image", "click"):
        columns[name] = [list(rows[name][i : i + PER]) for i in range(0, len(rows[name]), PER)]
    columns["clicked_items"] = [
        [int(i) for i, c in zip(items, clicks, strict=True) if c]
        for items, clicks in zip(columns["item_id"], columns["click"], strict=True)
    ]
    found = propose_of(columns)
    assert (found.layout.shape, found.layout.lists[0]) == ("requests", "item_id")
    expected = fields_of(propose_of(pairs()))
    assert fields_of(found) == {name: expected[name] for name in expected if name not in ("position", "paid_eur")}
    assert found.chosen == ("clicked_items",)
    assert [line.column for line in found.tasks] == ["click"]


def test_lists_of_clicked_items_are_labels(tmp_path: Path) -> None:
    rows = pairs()
    columns: dict[str, Any] = {name: rows[name][::PER] for name in ("search_id", "user_id", "ts")}
    columns["item_ids_inview"] = [list(rows["item_id"][i : i + PER]) for i in range(0, len(rows["item_id"]), PER)]
    columns |= {name: [[items[0]] for items in columns["item_ids_inview"]] for name in ("ids_clicked", "ids_pinned")}
    columns["ids_bought"] = [items[:1] if i % 3 else [] for i, items in enumerate(columns["item_ids_inview"])]
    found = propose_of(columns)
    assert [line.spec for line in found.tasks] == [
        {"name": "click", "in": "ids_clicked"},
        {"name": "purchase", "in": "ids_bought"},
    ]
    assert found.main_task == "click"
    assert found.chosen == ("ids_pinned",)  # not named as an outcome: it stays a comment
    assert fields_of(found).keys() == {"user_id", "item_ids_inview"}
    path = tmp_path / "schema.yaml"
    path.write_text(schema_text(found, "news", "here"), encoding="utf-8")
    assert [task.chosen for task in load_schema(path).tasks] == ["ids_clicked", "ids_bought"]


def test_a_time_that_changes_within_requests_splits_at_random() -> None:
    columns = pairs()
    columns["ts"] = 1_740_000_000 + np.arange(REQUESTS * PER)
    found = propose_of(columns)
    assert found.keys["time"].used
    assert found.split == "random"


def test_a_user_that_changes_within_requests_is_no_key() -> None:
    columns = pairs()
    columns["user_id"] = np.arange(REQUESTS * PER) % 7
    found = propose_of(columns)
    assert not found.keys["user"].used
    assert "not the same" in found.keys["user"].why


def test_a_split_column_is_taken_as_such() -> None:
    columns = {**pairs(), "part": np.repeat(["train", "val", "test"], REQUESTS * PER // 3)}
    found = propose_of(columns)
    assert (found.split, found.split_column) == ("column", "part")
    assert "part" not in fields_of(found)


def test_other_sessions_and_unusable_columns_are_no_fields() -> None:
    columns = {**pairs(), "session_id": np.repeat(np.arange(REQUESTS) // 2, PER), "": np.arange(REQUESTS * PER)}
    lines = {line.column: line for line in propose_of(columns).fields}
    assert not lines["session_id"].used
    assert lines[""].spec is None


def test_a_log_of_structs_becomes_a_schema_of_paths(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    rows = [
        {
            "rid": f"r{r}",
            "user": {"id": f"u{r % 20}", "age": 20 + r % 50},
            "ts": 1_740_000_000 + 60 * r,
            "candidates": [
                {"sku": f"s{i}", "price": 1.5 * i, "clicked": int(rng.random() < 0.2), "teacher": rng.normal()}
                for i in rng.integers(0, 30, 3 + r % 4)
            ],
        }
        for r in range(80)
    ]
    raw, out = tmp_path / "log.parquet", tmp_path / "schema.yaml"
    pq.write_table(pa.Table.from_pylist(rows), raw)
    found = propose(read_sample([raw], 100))
    assert (found.layout.shape, found.layout.request) == ("requests", "rid")
    assert "of 3 to 6 candidates" in found.layout.why
    assert {key: line.column for key, line in found.keys.items() if line.used} == {
        "request": "rid",
        "user": "user.id",
        "item": "candidates[].sku",
        "time": "ts",
    }
    assert fields_of(found) == {
        "user.id": {"column": "user.id", "side": "request", "kind": "id"},
        "user.age": {"column": "user.age", "side": "request", "kind": "number"},
        "candidates[].sku": {"column": "candidates[].sku", "side": "candidate", "kind": "id"},
        "candidates[].price": {"column": "candidates[].price", "side": "candidate", "kind": "number"},
    }
    assert [line.spec for line in found.tasks] == [{"name": "candidates_clicked", "column": "candidates[].clicked"}]
    assert found.teacher is not None
    assert found.teacher.spec["columns"] == {"candidates_clicked": "candidates[].teacher"}
    out.write_text(schema_text(found, "log", "a test"))
    check_against(out, [raw], TimeSplit())


def test_items_are_told_from_small_numbers_by_how_many_there_are() -> None:
    item = Values("item", pa.array(range(1000)))
    assert shares_values(Values("h", pa.array([*range(100), *range(2000, 2100)])), item)
    assert not shares_values(Values("h", pa.array([*range(100), *range(2000, 2101)])), item)
    assert not shares_values(Values("h", pa.array(range(99))), item)
    assert not shares_values(Values("h", pa.array(["1"])), item)


def test_a_history_of_hashed_items_is_hashed_like_them(tmp_path: Path) -> None:
    items = np.arange(MANY + 1)
    history = pa.ListArray.from_arrays(pa.array(np.arange(len(items) + 1), pa.int32()), pa.array(items))
    proposal = propose_of({"item_id": items, "history": history, "click": items % 2})
    hashed = {"type": "hash", "buckets": 1 << 18}
    found = fields_of(proposal)
    assert found["item_id"] == {"side": "candidate", "kind": "id", "encoding": hashed}
    assert (found["history"]["encoding"], found["history"]["table"]) == (hashed, "item_id")
    path = tmp_path / "schema.yaml"
    path.write_text(schema_text(proposal, "shop", "here"), encoding="utf-8")
    assert load_schema(path).field("history").table == "item_id"


def test_chosen_lists_hold_candidates_only() -> None:
    shown = pa.array([[1, 2], [3]])
    assert are_chosen(pa.array([[2], None]), shown)
    assert not are_chosen(pa.array([[2], [2]]), shown)
    assert not are_chosen(pa.array([[], []], pa.list_(pa.int64())), shown)


def test_without_tasks_the_text_says_so_and_the_rest_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "schema.yaml"
    path.write_text(schema_text(propose_of({"x": [0.5, 0.7]}), "shop", "here"), encoding="utf-8")
    assert missing_parts(path) == ["tasks"]
    path.write_text(schema_text(propose_of({"click": [0, 1]}), "shop", "here"), encoding="utf-8")
    assert missing_parts(path) == ["fields"]
    path.write_text(schema_text(propose_of(pairs()), "shop", "here"), encoding="utf-8")
    assert missing_parts(path) == []


NAMES = st.lists(
    st.one_of(
        st.text(st.characters(blacklist_categories=["Cs"]), max_size=30),
        st.sampled_from(
            ["a: #b", "- x", '"', "'", "${oc.env:HOME}", "a\nb", "{x}", "[", "null", "1", "ä", "\u2028", "]: ,"]
        ),
    ),
    max_size=6,
    unique=True,
)


@given(NAMES)
@settings(max_examples=150, deadline=None)
def test_any_names_come_back_the_same(names: list[str]) -> None:
    columns = {name: ["a", "b", "a", "c"] for name in names if name != "click"} | {"click": [0, 1, 0, 1]}
    columns |= {"x": ["u", "v", "w", "u"]}
    proposal = propose_of(columns)
    text = schema_text(proposal, dataset_name("".join(names)), "".join(names))
    data = read_yaml(text)
    declared = [line.column for line in proposal.fields if line.used]
    assert [field.get("column") or field["name"] for field in data["fields"]] == declared
    assert data["tasks"][0]["name"] == "click"
    uncommented = read_yaml(text.replace("\n  # - ", "\n  - "))
    all_columns = {field.get("column", field.get("name")) for field in uncommented["fields"]}
    keys = {line.column for line in proposal.keys.values()}
    assert all_columns >= set(columns) - keys - {"click"}


def test_odd_names_make_a_schema_that_loads(tmp_path: Path) -> None:
    names = ["a: #b", "- x", "\"'", "${oc.env:HOME}", "a\nb", "null", "1", "ä]", "\u2028\x85\x1b[0m"]
    proposal = propose_of({name: ["a", "b", "a", "c"] for name in names} | {"click": [0, 1, 0, 1]})
    path = tmp_path / "schema.yaml"
    path.write_text(schema_text(proposal, dataset_name("'a: b'\n"), names[-1]), encoding="utf-8")
    schema = load_schema(path)
    assert [field.column for field in schema.fields] == names
    assert schema.name == "_a_ b__"


@given(
    st.recursive(
        st.one_of(st.text(st.characters(blacklist_categories=["Cs"])), st.integers(), st.booleans()),
        lambda inner: st.one_of(
            st.lists(inner), st.dictionaries(st.text(st.characters(blacklist_categories=["Cs"])), inner)
        ),
        max_leaves=8,
    )
)
@settings(deadline=None)
def test_flow_reads_back_on_one_line(value: Any) -> None:
    text = flow([value])
    assert "\n" not in text
    assert yaml.safe_load(text) == [value]


@pytest.mark.parametrize("text", ["a\nb", "x\u2028y", "\x1b[31m", "\ufeff", "😀 ok"])
def test_comments_stay_on_their_line(text: str) -> None:
    written = comment(text)
    assert written.isprintable()
    assert read_yaml(f"a: 1  {written}\nb: 2\n") == {"a": 1, "b": 2}


@pytest.mark.parametrize(("text", "expected"), [("a/b", "a_b"), ("-x", "data-x"), ("", "data"), ("é1", "é1")])
def test_names_of_datasets(text: str, expected: str) -> None:
    assert dataset_name(text) == expected
