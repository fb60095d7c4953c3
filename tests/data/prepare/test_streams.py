"""Statistics and selections that must not depend on how a stream was cut."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.data.prepare.accumulate import Extremes, Moments, Reservoir, quantile_boundaries
from distill.data.prepare.ahead import ahead
from distill.data.prepare.records import RecordPartitions, kth_smallest, partition_count, partition_of, read_records
from distill.data.prepare.value_counter import ValueCounter
from distill.encodings.hashing import mix64


def _cut(values: np.ndarray, pieces: int) -> list[np.ndarray]:
    return np.array_split(values, pieces)


def test_moments_match_numpy_and_ignore_cuts() -> None:
    values = np.random.default_rng(0).normal(5, 3, 200_001)
    results = []
    for pieces in (1, 3, 1000):
        moments = Moments()
        for piece in _cut(values, pieces):
            moments.add(piece)
        results.append(moments.result())
    assert results[0] == results[1] == results[2]
    np.testing.assert_allclose(results[0], (values.mean(), values.std()), rtol=1e-12)
    assert Moments().result() == (0.0, 0.0)


def test_reservoir_keeps_all_of_a_short_stream() -> None:
    reservoir = Reservoir(seed=1, size=10)
    reservoir.add(np.arange(10.0))
    assert sorted(reservoir.result()) == list(range(10))
    assert len(Reservoir(seed=1).result()) == 0


def test_reservoir_is_uniform_and_ignores_cuts() -> None:
    values = np.arange(50_000.0)
    samples = []
    for pieces in (1, 7, 500):
        reservoir = Reservoir(seed=1, size=1000)
        for piece in _cut(values, pieces):
            reservoir.add(piece)
        samples.append(np.sort(reservoir.result()))
    np.testing.assert_array_equal(samples[0], samples[1])
    np.testing.assert_array_equal(samples[0], samples[2])
    assert len(samples[0]) == 1000
    assert abs(samples[0].mean() - 25_000) < 5 * 50_000 / np.sqrt(12 * 1000)


def test_value_counter_merges() -> None:
    counter = ValueCounter()
    for values in ([3, 3, None, 8], [1], [], [3, 1], [None]):
        counter.add(pa.array(values, pa.int64()), np.array([value != 8 for value in values], np.bool_))
    assert sorted(counter.result().drop("number").to_pylist(), key=lambda row: row["value"]) == [
        {"value": 1, "count": 2},
        {"value": 3, "count": 3},
    ]


def test_extremes() -> None:
    extremes = Extremes()
    extremes.add(np.array([3.0, -1.0]))
    extremes.add(np.zeros(0))
    assert (extremes.low, extremes.high) == (-1.0, 3.0)


def test_quantile_boundaries_are_strictly_increasing() -> None:
    values = np.array([1.0, 1.0, 1.0, 1.0, 5.0])
    assert quantile_boundaries([values], 4).tolist() == [1.0]
    assert quantile_boundaries([np.arange(5.0)], 4).tolist() == [1.0, 2.0, 3.0]
    assert len(quantile_boundaries([np.zeros(0)], 4)) == 0


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=50), st.data())
def test_kth_smallest(values: list[int], data: st.DataObject) -> None:
    k = data.draw(st.integers(0, len(values) - 1))
    assert kth_smallest(np.array(values, np.int64), k) == sorted(values)[k]


@pytest.mark.parametrize("count", [1, 5])
def test_record_partitions_keep_keys_together(tmp_path: Path, count: int) -> None:
    partitions = RecordPartitions(tmp_path / "p", count)
    keys = np.random.default_rng(0).integers(0, 50, 1000)
    for piece in _cut(np.arange(1000), 7):
        partitions.add(keys[piece], (keys[piece], piece))
    loaded = [read_records([tmp_path / "p"], p, 2) for p in range(count)]
    assert sorted(np.concatenate(loaded)[:, 1].tolist()) == list(range(1000))
    seen = [set(records[:, 0].tolist()) for records in loaded]
    assert sum(map(len, seen)) == len(set(keys.tolist()))


def test_partitions_are_ranges_of_hashes() -> None:
    hashed = np.sort(mix64(np.arange(1000)))
    for count in (1, 3, 512):
        partition = partition_of(hashed, count)
        assert (np.diff(partition) >= 0).all()
        assert partition.max() < count
    assert partition_count(1 << 30, 1 << 30) == 4
    assert partition_count(0, 1 << 30) == 1


def _items_and_error() -> Iterator[int]:
    yield from range(5)
    raise ValueError("end")


def test_ahead_keeps_order_and_errors() -> None:
    items = ahead(_items_and_error())
    assert [next(items) for _ in range(5)] == list(range(5))
    with pytest.raises(ValueError, match="end"):
        next(items)
    assert list(ahead(iter([]))) == []
