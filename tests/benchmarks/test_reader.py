"""What the reader's benchmark measures: both ways read all candidates of the same columns."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.data import FlatBenchmark, RequestBenchmark
from benchmarks.reader import measure_reader, read_with_pyarrow
from distill.data.format import Dataset
from distill.data.prepare import prepare
from distill.data.stream import SplitReader

SOURCES = [FlatBenchmark(3_000, 10_000), RequestBenchmark(100, 20, 5, 200)]


@pytest.fixture(params=SOURCES, ids=["flat", "requests"])
def dataset(request: pytest.FixtureRequest, tmp_path: Path) -> Dataset:
    return prepare(request.param.write_raw(tmp_path / "raw"), tmp_path / "ready", progress=False)


def test_every_way_is_a_row_with_its_ratio(dataset: Dataset) -> None:
    rows = measure_reader(dataset, batch_candidates=256, shuffle_buffer=512, repeats=1)
    assert [row.name.rsplit("/", 1)[1] for row in rows] == [
        *("pyarrow", "shuffled", "shuffled without prefetch", "in order", "shuffled without checks"),
        *("shuffled with 4 workers", "shuffled in memory", "shuffled in memory with 4 workers", "checks"),
    ]
    assert rows[0].ratio is None
    for row in rows[1:-1]:
        assert row.ratio == pytest.approx(row.value / rows[0].value, rel=1e-6)
    assert rows[1].target == "≥ 0.8"
    assert rows[-1].target == "≤ 1.02"


def test_the_yardstick_reads_every_candidate(dataset: Dataset) -> None:
    columns = SplitReader.open(dataset, dataset.schema, "train").layout.columns
    expected = sum(part.candidates for part in dataset.parts("train"))
    assert read_with_pyarrow(dataset, "train", columns, 7) == expected
