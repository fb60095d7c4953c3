"""Numbers of ids, popularity and effects of generated ids."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.data.draw import (
    CRITEO_SIZES,
    effect,
    popularity_rank,
    popularity_strata,
    raw_values,
    spread_ids,
)


@pytest.mark.parametrize("total", [2_600, 1_000_000, 20_000_000])
def test_sizes_sum_to_the_total_and_small_ones_stay(total: int) -> None:
    sizes = spread_ids(CRITEO_SIZES, total)
    assert sum(sizes) == total
    assert min(sizes) >= 1
    assert sizes[8] == 3
    assert all(size <= original for size, original in zip(sizes, CRITEO_SIZES, strict=True))
    assert np.argmax(sizes) == np.argmax(CRITEO_SIZES)


def test_popularity_falls_as_one_over_the_rank() -> None:
    ranks = popularity_rank(np.linspace(0, 1, 100_000, endpoint=False), 999)
    counts = np.bincount(ranks, minlength=999)
    assert len(counts) == 999
    assert counts[0] / counts[9] == pytest.approx(np.log(2 / 1) / np.log(11 / 10), rel=0.02)
    assert counts[0] / len(ranks) == pytest.approx(np.log(2) / np.log(1000), rel=0.01)


@pytest.mark.parametrize(("size", "strata"), [(1, 1), (100, 100), (101, 100), (5_000, 100), (200_000, 100)])
def test_strata_cover_all_ranks_and_none_is_empty(size: int, strata: int) -> None:
    cut = popularity_strata(size, strata, 50.0)
    assert cut[0] == 0
    assert cut[-1] == size
    assert np.diff(cut).min() >= 1


def test_strata_are_drawn_equally_often() -> None:
    cut = popularity_strata(200_000, 100, 50.0)
    ranks = popularity_rank(np.linspace(0, 1, 200_000, endpoint=False), 200_000, 50.0)
    share = np.histogram(ranks, cut)[0] / len(ranks)
    assert share[50:] == pytest.approx(0.01, rel=0.1)


def test_effects_are_spread_evenly_and_depend_on_id_and_salt() -> None:
    effects = effect(np.arange(100_000, dtype=np.int32), 3)
    assert effects.min() >= -0.5
    assert effects.max() < 0.5
    assert effects.std() == pytest.approx(1 / np.sqrt(12), rel=0.02)
    assert abs(np.corrcoef(effects, effect(np.arange(100_000, dtype=np.int32), 4))[0, 1]) < 0.02
    assert abs(np.corrcoef(effects[1:], effects[:-1])[0, 1]) < 0.02


def test_raw_values_are_distinct_and_out_of_order() -> None:
    values = raw_values(np.arange(100_000, dtype=np.int32), 1)
    assert len(np.unique(values)) == 100_000
    assert values.min() >= 0
    assert abs(np.corrcoef(values, np.arange(100_000))[0, 1]) < 0.02
