"""Lists that are written as text: sequences, candidates and vectors, in CSV and Parquet alike."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest

from distill.data.format import Dataset
from distill.encodings.declared import split_text
from distill.errors import DataError, SchemaError
from tests.data.prepare.builders import prepare_quietly, rows, schema_of, write

FIELDS: list[dict[str, Any]] = [
    {"name": "uid", "side": "request", "kind": "id"},
    {"name": "past", "side": "request", "kind": "sequence", "table": "item", "max_length": 2},
    {"name": "taste", "side": "request", "kind": "vector", "width": 2},
    {"name": "item", "side": "candidate", "kind": "id"},
    {"name": "price", "side": "candidate", "kind": "number"},
]
LISTS: dict[str, Any] = {
    "past": [["10", "12", "11"], [], None, ["99"]],
    "taste": [[0.5, -1.0], [1.0, 2.0], None, [1e-3, 3.0]],
    "item": [["10", "11"], ["10", "12", "10"], ["11"], ["99"]],
    "price": [[1.0, 3.0], [1.0, None, 2.0], [2.0], [100.0]],
    "click": [[1, 0], [0, 1, 0], [1], [0]],
}
OTHERS: dict[str, Any] = {
    "rid": ["r1", "r2", "r3", "r4"],
    "uid": [7, 8, 9, 7],
    "part": ["train", "train", "val", "test"],
}
DELIMITERS = {"past": "|", "taste": ", ", "item": " ", "price": "|", "click": "|"}


def _text() -> dict[str, Any]:
    def joined(name: str, values: list[Any] | None) -> str | None:
        return None if values is None else DELIMITERS[name].join("" if v is None else str(v) for v in values)

    return {**OTHERS, **{name: [joined(name, one) for one in lists] for name, lists in LISTS.items()}}


def _content(dataset: Dataset) -> list[Any]:
    return [rows(dataset, split) for split in ("train", "val", "test")]


def test_text_is_read_as_the_lists_that_it_means(tmp_path: Path) -> None:
    declared = schema_of(fields=FIELDS, raw={"delimiters": DELIMITERS})
    lists = prepare_quietly(
        write(tmp_path / "a.parquet", {**OTHERS, **LISTS}), tmp_path / "a", schema_of(fields=FIELDS)
    )
    text = prepare_quietly(write(tmp_path / "b.parquet", _text()), tmp_path / "b", declared)
    compact = pa.array(_text()["past"]).dictionary_encode()
    large = write(
        tmp_path / "c.parquet", {**_text(), "past": compact, "item": pa.array(_text()["item"], pa.large_string())}
    )
    pa_csv.write_csv(pa.table(_text()), tmp_path / "d.csv")
    expected = _content(lists)
    assert expected[0][0]["field_past"] == [4, 3]  # 12 and 11, whose table is that of the items
    assert expected[0][1]["field_past"] == []
    assert _content(text) == expected
    assert _content(prepare_quietly(large, tmp_path / "c", declared)) == expected
    assert _content(prepare_quietly(tmp_path / "d.csv", tmp_path / "d", declared)) == expected


def test_values_have_the_type_that_is_declared(tmp_path: Path) -> None:
    columns = {**_text(), "item": [[10, 11], [10, 12, 10], [11], [99]]}
    delimiters = {name: text for name, text in DELIMITERS.items() if name != "item"}
    raw = write(tmp_path / "a.parquet", columns)
    with pytest.raises(DataError, match=r"share a table(.|\n)*'item'"):
        prepare_quietly(raw, tmp_path / "a", schema_of(fields=FIELDS, raw={"delimiters": delimiters}))
    schema = schema_of(fields=FIELDS, raw={"delimiters": delimiters, "columns": {"past": "integer"}})
    assert rows(prepare_quietly(raw, tmp_path / "b", schema), "train")[0]["field_past"] == [4, 3]
    columns["past"] = ["10|x", "", None, "99"]
    with pytest.raises(DataError, match=r"row 0, value 1, column 'past'(.|\n)*'x'"):
        prepare_quietly(write(tmp_path / "c.parquet", columns), tmp_path / "c", schema)


def test_null_words_mean_null_lists_and_null_values(tmp_path: Path) -> None:
    columns = {**_text(), "past": ["-|12|11", "", "-", "99"]}
    schema = schema_of(fields=FIELDS, raw={"delimiters": DELIMITERS, "null_values": ["-"]})
    dataset = prepare_quietly(write(tmp_path / "a.parquet", columns), tmp_path / "a", schema)
    assert rows(dataset, "train")[0]["field_past"] == [4, 3]
    assert dataset.manifest.counts["missing/val/past"] == 1
    assert dataset.manifest.counts["missing/train/past"] == 1


def test_clicked_ids_may_be_text(tmp_path: Path) -> None:
    columns = {**_text(), "clicked": ["10", "12 55", "", None]}
    del columns["click"]
    delimiters = {**{n: t for n, t in DELIMITERS.items() if n != "click"}, "clicked": " "}
    schema = schema_of(fields=FIELDS, raw={"delimiters": delimiters}, tasks=[{"name": "click", "in": "clicked"}])
    dataset = prepare_quietly(write(tmp_path / "a.parquet", columns), tmp_path / "a", schema)
    assert [row["label_click"] for row in rows(dataset, "train")] == [[1, 0], [0, 1, 0]]


def test_a_catalogue_holds_single_items(tmp_path: Path) -> None:
    schema = schema_of(fields=FIELDS, raw={"delimiters": DELIMITERS})
    items = write(tmp_path / "items.parquet", {"item": ["10", "1 1"], "price": [1.0, 2.0]})
    dataset = prepare_quietly(write(tmp_path / "a.parquet", _text()), tmp_path / "a", schema, items=items)
    assert dataset.manifest.items[0].rows == 2


def test_text_without_a_delimiter_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'past' \(field 'past'\)(.|\n)*raw.delimiters: {past: '\|'}"):
        prepare_quietly(write(tmp_path / "a.parquet", {**OTHERS, **LISTS, "past": ["1|2"] * 4}), tmp_path / "a",
                        schema_of(fields=FIELDS))  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "match"),
    [
        ({"delimiters": {"post": "|"}}, r"no field, task or key(.|\n)*raw.delimiters.post(.|\n)*'past'"),
        ({"delimiters": {"past": ""}}, r"at least 1 character(.|\n)*raw.delimiters.past"),
        ({"delimiters": {"both": "|"}}, r"'both' is used as ids and as numbers"),
    ],
)
def test_delimiters_that_cannot_be(tmp_path: Path, raw: dict[str, Any], match: str) -> None:
    both = [
        {"name": "b1", "column": "both", "side": "request", "kind": "sequence"},
        {"name": "b2", "column": "both", "side": "request", "kind": "vector", "width": 2},
    ]
    with pytest.raises(SchemaError, match=match):
        prepare_quietly(
            write(tmp_path / "a.parquet", _text()), tmp_path / "a", schema_of(fields=[*FIELDS, *both], raw=raw)
        )


def test_split_text() -> None:
    text = pa.array(["a||b", "", None, "|", "a"])
    assert split_text(text, "|").to_pylist() == [["a", None, "b"], [], None, [None, None], ["a"]]
    assert split_text(text.slice(1, 2), "|").to_pylist() == [[], None]
    assert split_text(text.slice(0, 0), "|").to_pylist() == []
