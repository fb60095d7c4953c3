from __future__ import annotations

import math

import pytest
import torch

from distill.metrics.functional.reduce import PerRequest, total, weighted_mean


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
