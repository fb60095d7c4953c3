"""The flat benchmark data: its shape, its seed, and that it can be prepared and learnt from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.data import FlatBenchmark, flat
from distill.data.prepare import prepare
from distill.errors import ConfigError

SMALL = FlatBenchmark(rows=3_000, total_ids=10_000)


def test_it_has_the_shape_of_criteo() -> None:
    table = pa.concat_tables(SMALL.tables())
    schema = SMALL.raw_schema()
    assert table.num_rows == 3_000
    assert [name[0] for name in table.column_names[1:]] == ["c"] * 26 + ["n"] * 13
    assert sum(spec.encoding.makes_ids for spec in schema.fields) == 26
    for i, size in enumerate(SMALL.sizes()):
        column = table[f"c{i + 1}"].drop_null().to_numpy()
        assert column.min() >= 0
        assert column.max() < size
    assert 0.1 < table["click"].to_numpy().mean() < 0.5
    assert table["c3"].null_count / 3_000 == pytest.approx(0.1, abs=0.02)


def test_chunks_differ_and_the_seed_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flat, "CHUNK_ROWS", 1_000)
    chunks = list(SMALL.tables())
    assert [len(chunk) for chunk in chunks] == [1_000] * 3
    assert not chunks[0].equals(chunks[1])
    assert pa.concat_tables(chunks).equals(pa.concat_tables(SMALL.tables()))
    other = replace(SMALL, seed=1)
    assert not next(other.tables()).equals(chunks[0])
    assert other.fingerprint() != SMALL.fingerprint()


def test_strings_are_eight_digits_of_the_numbers() -> None:
    numbers = next(FlatBenchmark(500, 10_000, encoding="hash").tables())
    strings = next(FlatBenchmark(500, 10_000, encoding="hash", string_ids=True).tables())
    for name in ("c1", "c3"):
        pairs = zip(numbers[name].to_pylist(), strings[name].to_pylist(), strict=True)
        assert all(text == (None if number is None else f"{number:08x}") for number, text in pairs)


@pytest.mark.parametrize("encoding", ["ids", "vocabulary", "hash"])
def test_it_can_be_prepared(tmp_path: Path, encoding: str) -> None:
    source = FlatBenchmark(2_000, 10_000, encoding=encoding)  # type: ignore[arg-type]
    dataset = prepare(source.write_raw(tmp_path / "raw"), tmp_path / "ready", progress=False)
    rows = {split: sum(part.rows for part in parts) for split, parts in dataset.manifest.splits.items()}
    assert sum(rows.values()) == 2_000
    assert rows["train"] > 1_700
    total = sum(spec.size or 0 for spec in dataset.schema.fields) - 2 * 26
    assert total == 10_000 if encoding != "vocabulary" else 0 < total < 10_000


def test_the_label_can_be_learnt(tmp_path: Path) -> None:
    raw = FlatBenchmark(20_000, 10_000).write_raw(tmp_path)
    table = pq.read_table(raw.files[0], columns=["c6", "click"])
    ids, click = table["c6"].fill_null(99).to_numpy(), table["click"].to_numpy()
    half = len(ids) // 2
    rate = np.bincount(ids[:half], click[:half], 128) / np.maximum(1, np.bincount(ids[:half], minlength=128))
    assert np.corrcoef(rate[ids[half:]], click[half:])[0, 1] > 0.1


def test_impossible_arguments_are_refused() -> None:
    with pytest.raises(ConfigError, match="too small"):
        FlatBenchmark(total_ids=10)
    with pytest.raises(ConfigError, match="encoded"):
        FlatBenchmark(string_ids=True)
