"""What a log tells of another cascade: coverage by hand, and estimates that are right in the mean."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from distill.cascade import Cuts, Judged, by_rank, coverage, estimate, run_stages
from distill.errors import ConfigError, DataError

NAN = math.nan
YES = torch.ones(6, dtype=torch.bool)


def test_coverage_by_hand() -> None:
    index = torch.tensor([0, 0, 0, 0, 1, 1])
    known = torch.tensor([True, False, False, True, True, True])
    judged = Judged(index, 2, torch.arange(6.0), known)
    passed = run_stages(torch.tensor([4.0, 3.0, 2.0, 1.0, 1.0, 2.0]), judged, Cuts(3, 2, 1), by_rank(1))
    assert passed.preranked.tolist() == [True, True, True, False, True, True]
    assert coverage(passed, judged, 2) == {
        "passed_on": pytest.approx(3 / 5),
        "requests": 0.5,
        "places_at_stake": pytest.approx(2 / 4),
    }


def test_estimates_by_hand() -> None:
    """Two places a page; shown by the log and the student: rows 0 (p = .5), 4 (p = .1) and 5 (p = .25)."""
    judged = Judged(torch.tensor([0, 0, 0, 1, 1, 1]), 2, torch.zeros(6), YES)
    student = torch.tensor([3.0, 2.0, 1.0, 1.0, 2.0, 3.0])
    passed = run_stages(student, judged, Cuts(2, 2, 2), by_rank(2))
    propensity = torch.tensor([0.5, NAN, 0.5, 0.25, 0.1, 0.25])
    label = torch.tensor([1.0, 0.0, 1.0, 0.0, 0.0, 1.0])
    found = estimate(passed, judged, propensity, label, YES, 8.0)
    assert float(found.ips.value) == pytest.approx((2 + 4) / 4)
    assert float(found.snips.value) == pytest.approx((2 + 4) / (2 + 8 + 4))
    assert float(found.logged.value) == pytest.approx(3 / 5)
    assert found.effective == pytest.approx(14**2 / (4 + 64 + 16))
    assert (found.rows, found.clipped) == (3, pytest.approx(1 / 3))


def test_requests_that_were_not_random_are_no_places_of_the_estimate() -> None:
    judged = Judged(torch.tensor([0, 0, 0, 1, 1, 1]), 2, torch.zeros(6), YES)
    passed = run_stages(torch.tensor([3.0, 2.0, 1.0, 1.0, 2.0, 3.0]), judged, Cuts(2, 2, 2), by_rank(2))
    propensity = torch.tensor([0.5, NAN, 0.5, NAN, NAN, NAN])
    found = estimate(passed, judged, propensity, torch.ones(6), YES, 8.0)
    assert float(found.ips.value) == pytest.approx(2 / 2)


def test_random_traffic_estimates_what_users_would_do() -> None:
    """3 of 10 candidates are shown at random: the estimate is near the true rate of the pages of the student."""
    rng = np.random.default_rng(0)
    requests, size, page = 4000, 10, 3
    index = torch.arange(requests).repeat_interleave(size)
    chance = torch.from_numpy(rng.random(requests * size))
    judged = Judged(index, requests, chance, torch.ones(requests * size, dtype=torch.bool))
    student = chance + 0.3 * torch.from_numpy(rng.normal(size=requests * size))
    passed = run_stages(student, judged, Cuts(5, 3, page), by_rank(page))
    drawn = torch.from_numpy(rng.random((requests, size)).argsort(1).argsort(1) < page).flatten()
    label = (torch.from_numpy(rng.random(requests * size)) < chance).double()
    propensity = torch.where(drawn, page / size, NAN)
    truth = float(chance[passed.shown].mean())
    found = estimate(passed, judged, propensity, label, drawn, 100.0)
    for value in (found.ips, found.snips):
        assert abs(float(value.value) - truth) < 3 * float(value.standard_error())
        assert 0 < float(value.standard_error()) < 0.03
    assert abs(float(found.logged.value) - truth) > 10 * float(found.logged.standard_error())
    assert found.effective == pytest.approx(found.rows)
    clipped = estimate(passed, judged, propensity, label, drawn, 2.0)
    assert float(clipped.ips.value) == pytest.approx(float(found.ips.value) * 2 / (size / page))
    assert clipped.clipped == 1.0


@pytest.mark.parametrize("propensity", [[NAN] * 6, [0.5, 0.0, 1, 1, 1, 1], [0.5, 1.5, 1, 1, 1, 1]])
def test_what_is_no_propensity_is_refused(propensity: list[float]) -> None:
    judged = Judged(torch.tensor([0, 0, 0, 1, 1, 1]), 2, torch.zeros(6), YES)
    passed = run_stages(torch.zeros(6), judged, Cuts(2, 2, 2), by_rank(2))
    with pytest.raises(DataError, match="propensities"):
        estimate(passed, judged, torch.tensor(propensity), torch.zeros(6), YES, 10.0)
    with pytest.raises(ConfigError, match="must be at least 1"):
        estimate(passed, judged, torch.ones(6), torch.zeros(6), YES, 0.5)
