"""Columns whose raw values are not what encodings read: declared types, words for null, shared and unsigned ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from distill.errors import DataError
from distill.export import BundleOptions, write_bundle
from distill.serving import Bundle
from tests.export.conftest import WHOLE, Log, prepared

pytestmark = pytest.mark.slow  # whole ways from raw values; tests/encodings hold the parts

SCHEMA: dict[str, Any] = {
    "name": "odd",
    "layout": "requests",
    "keys": {"request": "search", "item": "item"},
    "raw": {
        "columns": {
            "zip": "text",
            "member": "boolean",
            "floor": "integer",
            "code": "number",
            "rooms": "integer",
            "visits": "integer",
        },
        "null_values": ["?", "none"],
        "delimiters": {"seen": " ", "shape": ";", "visits": "|"},
    },
    "fields": [
        {"name": "zip", "side": "request", "kind": "id"},
        {"name": "member", "side": "request", "kind": "id"},
        {"name": "lent", "side": "request", "kind": "number", "column": "member"},
        {"name": "past", "side": "request", "kind": "sequence", "max_length": 3},
        {"name": "seen", "side": "request", "kind": "sequence", "encoding": {"type": "hash", "buckets": 8}},
        {"name": "shape", "side": "request", "kind": "vector", "width": 2},
        {"name": "visits", "side": "request", "kind": "sequence"},
        {"name": "triple", "side": "request", "kind": "vector", "width": 3},
        {"name": "parts", "side": "request", "kind": "sequence", "column": "triple"},
        {"name": "age", "side": "request", "kind": "number", "column": "person.age", "nan": "missing"},
        {"name": "years", "side": "request", "kind": "number", "column": "person.age", "encoding": "log"},
        {"name": "item", "side": "candidate", "kind": "id"},
        {
            "name": "colour",
            "side": "candidate",
            "kind": "id",
            "column": "looks[].colour",
            "encoding": {"type": "hash", "buckets": 8},
        },
        {"name": "floor", "side": "candidate", "kind": "number"},
        {"name": "code", "side": "candidate", "kind": "id"},
        {"name": "rooms", "side": "candidate", "kind": "id", "encoding": {"type": "ids", "size": 5}},
        {"name": "bid", "side": "candidate", "kind": "id"},
        {"name": "huge", "side": "cross", "kind": "number", "encoding": {"type": "quantile", "buckets": 2}},
    ],
    "tasks": [{"name": "click"}],
    "score": {"columns": {"bid": 0.5}},
}


def odd_log(seed: int) -> pa.Table:
    """40 requests of 5 candidates each."""
    rng = np.random.default_rng(seed)

    def draw(values: list[Any]) -> list[Any]:
        return [values[i] for i in rng.integers(0, len(values), 40)]

    def lists(values: list[Any]) -> list[Any]:
        return [[values[i] for i in rng.integers(0, len(values), 5)] for _ in range(40)]

    return pa.table({
        "search": [f"q{i}" for i in range(40)],
        "zip": draw([71, 8000, 8001, None]),
        "member": draw([0, 1, None]),
        "past": pa.array(draw([[2**63 + 1, 5], [2**64 - 1], [], None]), pa.list_(pa.uint64())),
        "seen": draw(["? a", "b", "none ", None, "none", ""]),
        "shape": draw(["0.5;-3", "1e-3;7", None]),
        "visits": draw(["7|8|9", "8", "", None]),
        "triple": draw([[1, 2, 3], [4, 5, 6], None]),
        "person.age": draw([20.0, 40.5, None]),
        "item": pa.array(lists([2**63 + i for i in range(1, 9)]), pa.list_(pa.uint64())),
        "looks[].colour": lists(["red", "?", "none", "blue", None]),
        "floor": lists([1.0, 2.0, -1.0, None]),
        "code": lists(["7", "8", "?", None]),
        "rooms": lists(["0", "4", "9", "none"]),
        "bid": lists([1, 2, 5]),
        "huge": lists([9e99, 8e99, None]),
        "click": lists([0, 1]),
    })  # fmt: skip


def packed(table: pa.Table) -> pa.Table:
    """The log as it is stored: what paths lead to in structs."""
    age, colours = table["person.age"].combine_chunks(), table["looks[].colour"].combine_chunks()
    looks = pa.ListArray.from_arrays(colours.offsets, pa.StructArray.from_arrays([colours.values], ["colour"]))
    stored = table.drop_columns(["person.age", "looks[].colour"])
    return stored.append_column("person", pa.StructArray.from_arrays([age], ["age"])).append_column("looks", looks)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Log:
    root = tmp_path_factory.mktemp("odd")
    (root / "schema.yaml").write_text(yaml.safe_dump(SCHEMA))
    for seed, name in enumerate(("first", "new")):
        pq.write_table(packed(odd_log(seed)), root / f"{name}.parquet")
    first = prepared(root, "first", "split@data.adapter.split=random")
    return Log(root, first, prepared(root, "new", WHOLE, f"encodings={root / 'first'}"))


@pytest.fixture(scope="module")
def bundle(odd: Log, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(odd.trained("lr"), tmp_path_factory.mktemp("bundle") / "b", BundleOptions(exported=False))


def raw() -> tuple[dict[str, Any], dict[str, Any]]:
    table = odd_log(1).combine_chunks()
    fields = SCHEMA["fields"]
    columns = {side: {f.get("column", f["name"]) for f in fields if f["side"] == side} for side in ("request", "cross")}
    request = {name: table[name] for name in columns["request"]}
    others = [n for n in table.column_names if n not in columns["request"] | {"search", "click"}]
    return request, {name: pc.list_flatten(table[name]) for name in others}


def test_raw_values_are_read_as_the_schema_declares_them(odd: Log, bundle: Bundle) -> None:
    wanted = odd.expected(odd.trained("lr"))
    request, candidates = raw()
    np.testing.assert_allclose(bundle.score_batch(request, candidates, [5] * 40).logits, wanted, atol=1e-5)
    for row in range(40):
        one = {name: values[row].as_py() for name, values in request.items()}
        of_one = {name: values.slice(5 * row, 5).to_pylist() for name, values in candidates.items()}
        np.testing.assert_allclose(bundle.score(one, of_one).logits, wanted[5 * row : 5 * row + 5], atol=1e-5)


def test_values_of_the_declared_type_are_taken_too(odd: Log, bundle: Bundle) -> None:
    """A server may know a zip as text already: it is the same value."""
    request, candidates = raw()
    one = {name: values[0].as_py() for name, values in request.items()}
    of_one = {name: values.slice(0, 5).to_pylist() for name, values in candidates.items()}
    as_stored = bundle.score({**one, "zip": 71, "member": 1}, of_one).logits
    as_declared = bundle.score({**one, "zip": "71", "member": True}, of_one).logits
    np.testing.assert_array_equal(as_stored, as_declared)
    nothing = bundle.score({**one, "zip": "?", "member": None}, of_one).logits
    np.testing.assert_array_equal(nothing, bundle.score({**one, "zip": None, "member": None}, of_one).logits)
    with pytest.raises(DataError, match=r"cannot be taken as boolean(.|\n)*request, row 0, column 'member'"):
        bundle.score({**one, "member": 2}, of_one)


def test_golden_requests_hold_what_is_declared(bundle: Bundle) -> None:
    table = pq.read_table(bundle.root / "golden.parquet")
    kinds = {f.name: f.type for column in ("request", "candidates") for f in fields_of(table, column)}
    assert kinds["member"] == pa.bool_()
    assert kinds["floor"] == kinds["rooms"] == kinds["bid"] == pa.int64()
    assert kinds["code"] == pa.float64()
    assert kinds["zip"] == kinds["seen"] == kinds["shape"] == kinds["visits"] == pa.string()


def test_text_that_is_a_list_is_taken_as_text_and_as_a_list(bundle: Bundle) -> None:
    request, candidates = raw()
    one = {name: values[0].as_py() for name, values in request.items()}
    of_one = {name: values.slice(0, 5).to_pylist() for name, values in candidates.items()}
    text = {"seen": "a b none", "shape": "0.5;7", "visits": "7|9"}
    lists = {"seen": ["a", "b", None], "shape": [0.5, 7.0], "visits": [7, 9]}
    scores = bundle.score({**one, **lists}, of_one).logits
    np.testing.assert_array_equal(bundle.score({**one, **text}, of_one).logits, scores)
    few = {"seen": "b", "shape": "1;7", "visits": "8"}
    assert (bundle.score({**one, **few}, of_one).logits != scores).any()
    empty, null = dict.fromkeys(("seen", "visits"), ""), dict.fromkeys(("seen", "visits"))
    np.testing.assert_array_equal(
        bundle.score({**one, **empty}, of_one).logits, bundle.score({**one, **null}, of_one).logits
    )
    with pytest.raises(DataError, match=r"request, row 0, value 1, column 'visits'(.|\n)*'x'"):
        bundle.score({**one, "visits": "7|x"}, of_one)
    with pytest.raises(DataError, match=r"wrong width(.|\n)*column 'shape'"):
        bundle.score({**one, "shape": ""}, of_one)


def fields_of(table: pa.Table, column: str) -> list[pa.Field]:
    kind = table.schema.field(column).type
    return list(kind.value_type if pa.types.is_list(kind) else kind)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"code": "7"}, r"A column must be a list of values(.|\n)*column 'code'"),
        ({"item": 7}, r"column(.|\n)*'item'"),
        ({"huge": {"a": 1}}, r"A column must be a list of values(.|\n)*column 'huge'"),
        ({"code": [1, "a", 2, 3, 4]}, "have different types"),
    ],
)
def test_a_column_is_a_list(bundle: Bundle, changed: dict[str, Any], said: str) -> None:
    request, candidates = raw()
    one = {name: values[0].as_py() for name, values in request.items()}
    of_one = {name: values.slice(0, 5).to_pylist() for name, values in candidates.items()}
    with pytest.raises(DataError, match=said):
        bundle.score(one, {**changed, **{n: v for n, v in of_one.items() if n not in changed}})


def test_what_is_no_mapping_is_named(bundle: Bundle) -> None:
    request, candidates = raw()
    one = {name: values[0].as_py() for name, values in request.items()}
    few = {name: values.slice(0, 5) for name, values in candidates.items()}
    table = pa.table(few)
    wanted = bundle.score(one, table).logits
    np.testing.assert_array_equal(bundle.score(one, table.combine_chunks().to_batches()[0]).logits, wanted)
    batch = pa.table({name: values.slice(0, 1) for name, values in request.items()})
    np.testing.assert_allclose(bundle.score_batch(batch, few, [5]).logits, wanted, atol=1e-6)
    for wrong in (table.to_pylist(), "item"):
        with pytest.raises(DataError, match="Raw values must be given by column"):
            bundle.score(one, wrong)
    with pytest.raises(DataError, match=r"given by column(.|\n)*request"):
        bundle.score([one], table)  # type: ignore[arg-type]


@pytest.mark.parametrize("counts", [[6, -1], [5.5], [[5]], ["5"]])
def test_counts_are_whole_numbers(bundle: Bundle, counts: Any) -> None:
    request, candidates = raw()
    some = {name: values.slice(0, len(counts)) for name, values in request.items()}
    with pytest.raises(DataError, match="numbers of candidates"):
        bundle.score_batch(some, {name: values.slice(0, 5) for name, values in candidates.items()}, counts)
