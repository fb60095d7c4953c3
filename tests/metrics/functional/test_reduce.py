from __future__ import annotations

import math
from contextlib import nullcontext

import pytest
import torch

from distill.metrics.functional.reduce import (
    PerRequest,
    count_of_each,
    running_total,
    sum_by_number,
    sum_of_each,
    total,
    weighted_mean,
)
from distill.ops.waiting import as_on_a_device


def test_total_does_not_depend_on_threads() -> None:
    values = torch.randn(200_003, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(float(total(values)))
    finally:
        torch.set_num_threads(threads)
    assert results[0] == results[1] == results[2]
    assert results[0] == pytest.approx(math.fsum(values.tolist()), rel=1e-12)


@pytest.mark.parametrize("size", [0, 1, 2, 1023, 1024, 1025, 2049])
def test_total_of_every_size(size: int) -> None:
    assert float(total(torch.arange(size))) == size * (size - 1) / 2


def test_weighted_mean() -> None:
    values = torch.tensor([1.0, 4.0])
    assert float(weighted_mean(values, None)) == 2.5
    assert float(weighted_mean(values, torch.tensor([3.0, 1.0]))) == 1.75
    assert weighted_mean(values, torch.zeros(2)).isnan()
    assert weighted_mean(values[:0], None).isnan()


def test_per_request_mean_and_standard_error() -> None:
    result = PerRequest.of(torch.tensor([1.0, 100.0, 4.0, 7.0]), torch.tensor([True, False, True, True]))
    assert result.values[1].isnan()
    assert (result.num_used, result.num_skipped) == (3, 1)
    assert float(result.mean()) == 4.0
    assert float(result.standard_error()) == pytest.approx(3 / math.sqrt(3))


@pytest.mark.parametrize("num_used", [0, 1])
def test_too_few_requests_have_no_standard_error(num_used: int) -> None:
    result = PerRequest.of(torch.ones(2), torch.arange(2) < num_used)
    assert result.standard_error().isnan()
    assert bool(result.mean().isnan()) == (num_used == 0)


@pytest.mark.parametrize("size", [0, 1, 1024, 1025, 5000])
def test_running_totals_on_a_device_are_those_of_the_host(size: int) -> None:
    values = torch.rand(size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with as_on_a_device():
        found = running_total(values)
    torch.testing.assert_close(found, running_total(values), rtol=1e-13, atol=0)
    torch.testing.assert_close(found, values.cumsum(0), rtol=1e-13, atol=0)


@pytest.mark.parametrize("index", [[], [0, 0, 2, 2, 2, 5], [3] * 2000])
def test_sums_and_counts_of_each_segment(index: list[int]) -> None:
    segment = torch.tensor(index, dtype=torch.int64)
    values = torch.rand(len(index), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = [float(values[segment == k].sum()) for k in range(7)]
    shuffled = torch.randperm(len(index), generator=torch.Generator().manual_seed(1))
    for on_a_device in (False, True):
        with as_on_a_device() if on_a_device else nullcontext():
            assert sum_of_each(values, segment, 7).tolist() == pytest.approx(expected)
            assert count_of_each(segment, 7).tolist() == [index.count(k) for k in range(7)]
            assert sum_by_number(values[shuffled], segment[shuffled], 7).tolist() == pytest.approx(expected)
