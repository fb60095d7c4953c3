"""Fields of text: what `prepare` writes is what a server's encoder makes of the same raw text."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from distill.data.dataset import load_dataset
from distill.data.datasets.parquet import ParquetSource
from distill.data.format import Dataset
from distill.data.prepare import prepare
from distill.data.prepare.known import KnownEncodings
from distill.data.raw import RawDataset
from distill.data.split import WholeSplit
from distill.encodings import FittedEncodings
from distill.errors import DataError, SchemaError
from distill.schema import Schema, parse_schema
from distill.schema import Side as SideOf
from distill.serving.inputs import lengths_of, sequence_of
from distill.serving.raw_encoder import RawEncoder
from tests.data.prepare.builders import pairs, prepare_quietly, rows, schema_of, write
from tests.encodings.texts import TEXTS
from tests.encodings.tokenizer import write_tokenizer

HASH = {"type": "hash", "buckets": 40}
FIELDS: list[dict[str, Any]] = [
    {"name": "query", "side": "request", "kind": "text", "table": "terms"},
    {"name": "query_parts", "column": "query", "side": "request", "kind": "text", "encoding": HASH,
     "tokens": {"split": "characters", "ngram_range": [2, 3]}, "max_length": 7},
    {"name": "title", "side": "candidate", "kind": "text", "table": "terms", "max_length": 4},
    {"name": "title_pairs", "column": "title", "side": "candidate", "kind": "text", "encoding": HASH,
     "tokens": {"split": "whitespace", "ngram_range": [1, 2], "strip_accents": True}},
    {"name": "reason", "side": "cross", "kind": "text", "tokens": "characters"},
]  # fmt: skip
MAYBE = st.one_of(st.none(), TEXTS)
REQUESTS = st.lists(st.tuples(MAYBE, st.lists(st.tuples(MAYBE, MAYBE), min_size=1, max_size=3)), min_size=3, max_size=6)
Log = list[tuple[str | None, list[tuple[str | None, str | None]]]]


def subwords(folder: Path) -> list[dict[str, Any]]:
    """Fields of the same columns that are cut by a tokenizer."""
    pytest.importorskip("tokenizers")
    tokens = {"split": "subwords", "tokenizer": str(write_tokenizer(folder / "tokenizer.json"))}
    return [
        {"name": "query_subwords", "column": "query", "side": "request", "kind": "text", "tokens": tokens,
         "table": "subwords"},
        {"name": "title_subwords", "column": "title", "side": "candidate", "kind": "text", "tokens": tokens,
         "table": "subwords", "max_length": 5},
        {"name": "reason_subwords", "column": "reason", "side": "cross", "kind": "text", "tokens": tokens,
         "encoding": HASH},
    ]  # fmt: skip


def schema_with(fields: list[dict[str, Any]], layout: str) -> Schema:
    keys = {"request": "rid"} if layout == "requests" else {}
    return schema_of(layout=layout, keys=keys, fields=fields)


def write_log(path: Path, log: Log, layout: str) -> Path:
    """Writes requests as lists, as pairs of one request, or flat."""
    if layout == "nested":
        return write(
            path,
            {
                "rid": [f"{path.stem}{i}" for i in range(len(log))],
                "query": pa.array([query for query, _ in log], pa.string()),
                "title": pa.array([[title for title, _ in rest] for _, rest in log], pa.list_(pa.string())),
                "reason": pa.array([[reason for _, reason in rest] for _, rest in log], pa.list_(pa.string())),
                "click": [[0] * len(rest) for _, rest in log],
            },
        )
    flat = [(f"{path.stem}{i}", query, *rest) for i, (query, all_rest) in enumerate(log) for rest in all_rest]
    columns = dict(zip(("rid", "query", "title", "reason"), map(list, zip(*flat, strict=True)), strict=True))
    text = {name: pa.array(columns[name], pa.string()) for name in ("query", "title", "reason")}
    return write(path, {**columns, **text, "click": [0] * len(flat)})


def encode_all(dataset: Dataset, log: Log, flat: bool) -> dict[str, list[list[int]]]:
    """What a server makes of the same text, column by column and, of requests, one at a time."""
    fitted = FittedEncodings.load(dataset.root, dataset.manifest.encodings)
    schema = dataset.schema.serving_view()
    encoder = RawEncoder(schema, fitted, list(SideOf))
    pairs_of = [(query, *rest) for query, all_rest in log for rest in all_rest]
    queries = [query for query, *_ in pairs_of] if flat else [query for query, _ in log]
    given = {
        SideOf.REQUEST: ({"query": queries}, len(queries)),
        SideOf.CANDIDATE: ({"title": [title for _, title, _ in pairs_of]}, len(pairs_of)),
        SideOf.CROSS: ({"reason": [reason for *_, reason in pairs_of]}, len(pairs_of)),
    }
    found: dict[str, list[list[int]]] = {}
    for side, (columns, count) in given.items():
        inputs = encoder.side(side, columns, count)
        for spec in schema.side(side):
            found[spec.name] = _lists(inputs, spec)
    for spec in schema.side(SideOf.REQUEST):
        alone = [_lists(encoder.row({"query": query}), spec)[0] for query in queries]
        assert alone == found[spec.name]
    return found


def _lists(inputs: Any, spec: Any) -> list[list[int]]:
    padded, lengths = inputs[sequence_of(spec)].tolist(), inputs[lengths_of(spec)].tolist()
    return [ids[: int(length)] for ids, length in zip(padded, lengths, strict=True)]


def check(log: Log, layout: str, extra: list[dict[str, Any]], folder: Path) -> None:
    """Prepares a log, all in the training split, and compares."""
    schema = schema_with([*FIELDS, *extra], "flat" if layout == "flat" else "requests")
    known = prepare(
        RawDataset((write_log(folder / "a.parquet", log, layout),), schema, WholeSplit("train")),
        folder / "first",
        known=KnownEncodings(fit(schema, log, folder, layout), "test"),
        progress=False,
    )
    wanted, prepared = encode_all(known, log, layout == "flat"), rows(known, "train")
    if layout != "flat":
        prepared.sort(key=lambda row: int(row["raw_request"][1:]))
    for spec in schema.fields:
        column = [row[f"field_{spec.name}"] for row in prepared]
        if layout != "flat" and spec.side is not SideOf.REQUEST:
            column = [ids for request in column for ids in request]
        assert column == wanted[spec.name], spec.name


def fit(schema: Schema, log: Log, folder: Path, layout: str) -> FittedEncodings:
    """Fits the encodings on most of the log; some words of the rest are not known."""
    third = max(1, len(log) // 3)
    parts = {"train": log[: len(log) - 2 * third + 1], "val": log[:third], "test": log[:third]}
    paths = {name: write_log(folder / f"{name}.parquet", part, layout) for name, part in parts.items()}
    apart = {"val": (paths["val"],), "test": (paths["test"],)}
    raw = RawDataset((paths["train"],), schema, WholeSplit("train"), apart=apart)
    dataset = prepare(raw, folder / "fitted", progress=False)
    return FittedEncodings.load(dataset.root, dataset.manifest.encodings)


@pytest.mark.parametrize("layout", ["nested", "pairs", "flat"])
@given(log=REQUESTS)
@settings(max_examples=3, deadline=None, phases=[Phase.generate])
def test_prepared_ids_are_those_of_a_server(layout: str, log: Log) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(log, layout, [], Path(folder))


@given(log=REQUESTS)
@settings(max_examples=3, deadline=None, phases=[Phase.generate])
def test_prepared_subwords_are_those_of_a_server(log: Log) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(log, "nested", subwords(Path(folder)), Path(folder))


@pytest.mark.slow
@given(log=REQUESTS, layout=st.sampled_from(["nested", "pairs", "flat"]))
@settings(max_examples=150, deadline=None, phases=[Phase.generate])
def test_prepared_ids_are_those_of_a_server_many(log: Log, layout: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(log, layout, subwords(Path(folder)), Path(folder))


TITLES = ["Red shoes", "blue SHOES", None, "", "red hat", "red, red", "new words"]
TITLE = {"name": "title", "side": "candidate", "kind": "text"}


def titled(**changes: Any) -> Schema:
    fields = schema_of().model_dump(mode="json", exclude_none=True)["fields"]
    return schema_of(fields=[*fields, {**TITLE, **changes}])


def test_text_is_a_sequence_of_the_ids_of_its_words(tmp_path: Path) -> None:
    dataset = prepare_quietly(write(tmp_path / "a.parquet", pairs(title=TITLES)), tmp_path / "out", titled())
    written = [ids for row in rows(dataset, "train") for ids in row["field_title"]]
    values = pq.read_table(dataset.root / "encodings" / "title.parquet").to_pydict()
    assert values == {"value": ["red", "shoes", "blue", "hat"], "count": [2, 2, 1, 1]}
    assert sorted(written) == [[], [], [2, 3], [2, 5], [4, 3]]
    assert [row["field_title"] for row in rows(dataset, "val")] == [[[2, 2]]]
    assert [row["field_title"] for row in rows(dataset, "test")] == [[[1, 1]]]
    counts = dataset.manifest.counts
    assert counts["missing/train/title"] == 1
    assert counts["oov/test/title"] == 2
    assert load_dataset(dataset.root).schema.field("title").size == 6


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_numbers_in_a_column_of_text_are_text(tmp_path: Path, kind: str) -> None:
    texts = ["12", "007", "12", "3.50", "", "12 x", "1"]
    columns = pairs(title=texts)
    path = tmp_path / f"a.{kind}"
    if kind == "csv":
        lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    else:
        import json

        lines = [json.dumps(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join(lines) + "\n")
    dataset = prepare_quietly(path, tmp_path / "out", titled())
    values = pq.read_table(dataset.root / "encodings" / "title.parquet").to_pydict()["value"]
    assert values == ["12", "007", "3", "50"]


def test_new_days_are_cut_as_the_first_and_others_are_refused(tmp_path: Path) -> None:
    dataset = prepare_quietly(write(tmp_path / "a.parquet", pairs(title=TITLES)), tmp_path / "out", titled())
    fitted = FittedEncodings.load(dataset.root, dataset.manifest.encodings)
    day = write(tmp_path / "b.parquet", pairs(title=["green shoes"] * 7))
    raw = RawDataset((day,), titled(), WholeSplit("train"))
    grown = prepare(raw, tmp_path / "grown", known=KnownEncodings(fitted, "out", grow=True), progress=False)
    assert rows(grown, "train")[0]["field_title"][:2] == [[6, 3], [6, 3]]
    same = prepare(raw, tmp_path / "same", known=KnownEncodings(fitted, "out"), progress=False)
    assert rows(same, "train")[0]["field_title"][:2] == [[1, 3], [1, 3]]
    for change, wanted in (
        ({"tokens": "characters"}, r"vocabulary of characters \[3, 3\], lowercase"),
        ({"kind": "id"}, "expected: vocabulary\n"),
        ({"encoding": HASH}, "hash into 40 buckets of words"),
    ):
        other = RawDataset((day,), titled(**change), WholeSplit("train"))
        with pytest.raises(DataError, match=rf"(?s)field 'title'.*{wanted}.*found: *vocabulary of words \[1, 1\]"):
            prepare(other, tmp_path / "other", known=KnownEncodings(fitted, "out"), progress=False)


def test_a_tokenizer_is_part_of_the_dataset(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    write_tokenizer(tmp_path / "parts.json")
    tokens = {"split": "subwords", "tokenizer": "parts.json"}
    schema = titled(tokens=tokens)
    import yaml

    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(schema.model_dump(mode="json", exclude_none=True)))
    day = write(tmp_path / "a.parquet", pairs(title=TITLES))
    source = ParquetSource(str(day), str(tmp_path / "schema.yaml"), WholeSplit("train"))
    before = source.fingerprint()
    dataset = prepare_quietly(day, tmp_path / "out", source.raw_schema())
    (kept,) = (dataset.root / "encodings").glob("tokenizer-*.json")
    assert kept.read_bytes() == (tmp_path / "parts.json").read_bytes()
    assert dataset.schema.field("title").tokens.tokenizer == f"encodings/{kept.name}"  # type: ignore[union-attr]
    fitted = FittedEncodings.load(dataset.root, dataset.manifest.encodings)
    for again in (source.raw_schema(), dataset.schema):
        known = KnownEncodings(fitted, "out")
        prepare(RawDataset((day,), again, WholeSplit("train")), tmp_path / f"{again is dataset.schema}", known=known,
                progress=False)  # fmt: skip
    write_tokenizer(tmp_path / "parts.json", merges=1)
    assert source.fingerprint() != before
    with pytest.raises(DataError, match="encode this field in another way"):
        known.check(source.raw_schema())
    kept.write_bytes(kept.read_bytes() + b" ")
    with pytest.raises(DataError, match="A file of the encodings is not the one"):
        FittedEncodings.load(dataset.root, dataset.manifest.encodings)
    (tmp_path / "parts.json").write_text("{}")
    with pytest.raises(DataError, match=r"(?s)A tokenizer cannot be used.*field 'title', tokens.tokenizer"):
        prepare_quietly(day, tmp_path / "x", source.raw_schema())
    (tmp_path / "parts.json").unlink()
    with pytest.raises(SchemaError, match=r"(?s)cannot be read.*field 'title', tokens.tokenizer"):
        prepare_quietly(day, tmp_path / "x", source.raw_schema())


def test_lists_are_no_text(tmp_path: Path) -> None:
    day = write(tmp_path / "a.parquet", pairs(title=[["a"]] * 7))
    with pytest.raises(DataError, match=r"(?s)wrong type.*'title'.*expected: *string"):
        prepare_quietly(day, tmp_path / "out", titled())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tokens": "subwords"}, "subwords need their `tokenizer`"),
        ({"tokens": {"split": "words", "tokenizer": "x.json"}}, "`tokenizer` belongs to `split: subwords` only"),
        ({"tokens": {"split": "subwords", "tokenizer": "x", "lowercase": True}}, "`lowercase` is not for subwords"),
        ({"tokens": {"ngram_range": [3, 2]}}, "the first cannot be larger"),
        ({"tokens": {"ngram": [1, 2]}}, "Unknown key 'ngram'.*Did you mean 'ngram_range'"),
        ({"kind": "id", "tokens": "words"}, "`tokens` belongs to fields of kind text only"),
        ({"encoding": {"type": "ids", "size": 5}}, "tokens of text want the encoding vocabulary or hash, not 'ids'"),
        ({"table": "item"}, "share table 'item' but differ in `tokens`"),
    ],
)
def test_mistakes_in_the_schema_are_named(change: dict[str, Any], says: str) -> None:
    data = schema_of().model_dump(mode="json", exclude_none=True)
    with pytest.raises(SchemaError, match=f"(?s){says}"):
        parse_schema({**data, "fields": [*data["fields"], {**TITLE, **change}]}, "test")
