"""The request benchmark data: its shape, its seed, and that both layouts hold the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.data import RequestBenchmark, requests
from distill.data.prepare import prepare
from distill.errors import ConfigError
from distill.schema import Kind, Side

SMALL = RequestBenchmark(requests=200, candidates=20, sequence_length=8, items=500)


def test_it_has_the_shape_that_it_says() -> None:
    table = pa.concat_tables(SMALL.tables())
    schema = SMALL.raw_schema()
    assert table.num_rows == 200
    assert len([spec for spec in schema.side(Side.REQUEST) if spec.kind is Kind.ID]) == 13
    assert len(schema.side(Side.CANDIDATE)) == 13
    assert set(table["item_id"].combine_chunks().value_lengths().to_pylist()) == {20}
    assert set(table["history"].combine_chunks().value_lengths().to_pylist()) == {8}
    for name, size in {**SMALL.request_sizes, **SMALL.candidate_sizes}.items():
        column = table[name].combine_chunks()
        values = column.flatten() if pa.types.is_list(column.type) else column
        assert min(values.to_pylist()) >= 0
        assert max(values.to_pylist()) < size


def test_items_differ_within_a_request_and_repeat_between_requests() -> None:
    lists = pa.concat_tables(SMALL.tables())["item_id"].to_pylist()
    assert all(len(set(items)) == 20 for items in lists)
    assert len({item for items in lists for item in items}) <= 500
    firsts = [items[0] for items in lists]
    assert np.std(firsts) > 50


def test_attributes_belong_to_the_item() -> None:
    table = pa.concat_tables(SMALL.tables())
    pairs = zip(table["item_id"].combine_chunks().flatten(), table["a1"].combine_chunks().flatten(), strict=True)
    seen: dict[int, int] = {}
    assert all(seen.setdefault(item.as_py(), attribute.as_py()) == attribute.as_py() for item, attribute in pairs)


def test_without_a_sequence_there_is_no_such_field() -> None:
    short = replace(SMALL, sequence_length=0)
    assert all(spec.kind is not Kind.SEQUENCE for spec in short.raw_schema().fields)
    assert "history" not in next(short.tables()).column_names


def test_chunks_are_requests_in_order_and_the_seed_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "CHUNK_CANDIDATES", 1_000)
    chunks = list(SMALL.tables())
    assert [len(chunk) for chunk in chunks] == [50] * 4
    assert pa.concat_tables(chunks)["request_id"].to_pylist() == list(range(200))
    assert not next(replace(SMALL, seed=1).tables())["user_id"].equals(chunks[0]["user_id"])


def test_both_layouts_hold_the_same_candidates(tmp_path: Path) -> None:
    nested, flat = SMALL, replace(SMALL, layout="flat")
    datasets = [
        prepare(source.write_raw(tmp_path / source.layout), tmp_path / f"ready_{source.layout}", progress=False)
        for source in (nested, flat)
    ]
    counts = [{s: sum(p.candidates for p in parts) for s, parts in d.manifest.splits.items()} for d in datasets]
    assert counts[0] == counts[1]
    assert sum(counts[0].values()) == 4_000
    rows = pa.concat_tables(nested.tables())
    pairs = pa.concat_tables(flat.tables())
    assert pairs["item_id"].to_pylist() == [item for items in rows["item_id"].to_pylist() for item in items]
    assert pairs["click"].to_pylist() == [click for clicks in rows["click"].to_pylist() for click in clicks]
    assert pairs["user_id"].to_pylist() == [user for user in rows["user_id"].to_pylist() for _ in range(20)]


def test_impossible_arguments_are_refused() -> None:
    with pytest.raises(ConfigError, match="sizes"):
        RequestBenchmark(candidates=10, items=5)
    with pytest.raises(ConfigError, match="layout"):
        RequestBenchmark(layout="wide")  # type: ignore[arg-type]


def test_numbers_of_the_pair_change_nothing_else() -> None:
    (plain,), (more,) = (list(source.tables()) for source in (SMALL, replace(SMALL, cross=2)))
    assert more.select(plain.column_names).equals(plain)
    assert set(more.column_names) - set(plain.column_names) == {"x0", "x1"}
    values = more["x1"].combine_chunks().flatten().to_numpy()
    assert len(values) == 200 * 20
    assert abs(values.std() - 1.0) < 0.1
    assert [f.name for f in replace(SMALL, cross=2).raw_schema().side(Side.CROSS)] == ["x0", "x1"]
