"""What the benchmark of preparation measures, and that nothing is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.data import FlatBenchmark
from benchmarks.prepare import measure_growth, measure_prepare, peak_memory
from distill.errors import DataError


def test_rates_of_all_sources_are_told(tmp_path: Path) -> None:
    sources = {name: FlatBenchmark(1_500, 10_000, encoding=name) for name in ("ids", "hash")}  # type: ignore[arg-type]
    rows = measure_prepare(sources, tmp_path, repeats=1)
    assert [row.name for row in rows] == ["prepare/ids", "prepare/hash"]
    assert all(row.value > 0 and row.target == "≥ 200,000" for row in rows)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_memory_is_that_of_the_child(tmp_path: Path) -> None:
    ballast = bytearray(1 << 30)
    ballast[::4096] = b"x" * len(ballast[::4096])
    assert peak_memory() > 1 << 30
    rows = measure_growth([FlatBenchmark(1_500, 10_000), FlatBenchmark(3_000, 10_000)], tmp_path, timeout=300)
    assert [row.name.rpartition("/")[2] for row in rows] == 2 * ["peak memory", "processor", "wall"]
    assert rows[0].value < 1 << 30
    assert rows[3].ratio == pytest.approx(rows[3].value / rows[0].value)
    assert all(row.value > 0 for row in rows)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_preparation_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    source = FlatBenchmark(1_500, 10_000)
    with pytest.raises(DataError, match="too long"):
        measure_growth([source, source], tmp_path, timeout=0.01)
