from __future__ import annotations

import math

import pytest
import torch

from distill.metrics.functional import auc
from distill.metrics.functional.influence import auc_influence, ratio_influence

# a bootstrap of 4,000 resamples knows a standard error to about 1 %; first-order formulas differ by a few more
CLOSE = 0.08


def clustered(units: int, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scores of two models with ties, labels and units whose rows depend on each other."""
    draw = torch.Generator().manual_seed(5)
    unit = torch.arange(units).repeat_interleave(size)
    shift = torch.randn(units, generator=draw)[unit]
    truth = shift + torch.randn(units * size, generator=draw)
    labels = (truth + torch.randn(units * size, generator=draw) > 0.8).float()
    noise = torch.randn(2, units * size, generator=draw)
    one, other = (truth + noise[0]).round(decimals=1), (truth + 2 * noise[1]).round(decimals=1)
    return one, other, labels, unit


def test_delong_by_hand() -> None:
    """Positives beat 1/2 (tie), 1 and 1 of the negatives; components of DeLong, each row a unit."""
    scores, labels = torch.tensor([1.0, 1.0, 3.0, 2.0, 0.0]), torch.tensor([0.0, 1.0, 1.0, 1.0, 0.0])
    found = auc_influence(scores, labels, torch.arange(5), 5)
    assert float(found.value) == pytest.approx((1.5 + 2 + 2) / 6)
    a = 5.5 / 6
    expected = [(2.5 / 3 - a) / 2, (0.75 - a) / 3, (1 - a) / 3, (1 - a) / 3, (1 - a) / 2]
    assert found.parts.tolist() == pytest.approx(expected)
    assert float(found.standard_error()) == pytest.approx(math.sqrt(sum(e * e for e in expected) * 5 / 4))


def test_a_standard_error_of_a_mean_is_the_classical_one() -> None:
    values = torch.tensor([1.0, 4.0, 2.0, 9.0])
    found = ratio_influence(values, torch.ones(4), torch.tensor([0, 1, 2, 5]), 7)
    assert float(found.value) == 4.0
    assert float(found.standard_error()) == pytest.approx(float(values.std()) / 2)
    assert found.used.tolist() == [True, True, True, False, False, True, False]
    assert found.num_used == 4


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.slow
def test_auc_and_its_paired_difference_agree_with_a_bootstrap_over_units(weighted: bool) -> None:
    one, other, labels, unit = clustered(150, 6)
    weight = torch.where(torch.arange(900) % 3 == 0, 2.0, 0.5) if weighted else None
    first, second = (auc_influence(s, labels, unit, 150, weight) for s in (one, other))
    assert float(first.value) == pytest.approx(float(auc(one, labels, weight)), abs=1e-12)
    draw = torch.Generator().manual_seed(1)
    values = []
    for _ in range(1500):
        rows = (torch.randint(0, 150, (150,), generator=draw)[:, None] * 6 + torch.arange(6)).flatten()
        own = None if weight is None else weight[rows]
        values.append([float(auc(s[rows], labels[rows], own)) for s in (one, other)])
    drawn = torch.tensor(values, dtype=torch.float64)
    assert float(first.standard_error()) == pytest.approx(float(drawn[:, 0].std()), rel=CLOSE)
    difference = first.minus(second)
    assert float(difference.value) == pytest.approx(float(first.value - second.value))
    assert float(difference.standard_error()) == pytest.approx(float((drawn[:, 0] - drawn[:, 1]).std()), rel=CLOSE)


def test_copies_of_a_row_in_its_unit_tell_nothing_new() -> None:
    one, _, labels, unit = clustered(40, 2)
    once = auc_influence(one, labels, unit, 40).standard_error()
    copied = auc_influence(one.repeat(9), labels.repeat(9), unit.repeat(9), 40).standard_error()
    assert float(copied) == pytest.approx(float(once))


def test_what_is_not_defined_is_nan() -> None:
    one_class = auc_influence(torch.tensor([1.0, 2.0]), torch.ones(2), torch.tensor([0, 1]), 2)
    assert one_class.value.isnan()
    assert one_class.standard_error().isnan()
    alone = ratio_influence(torch.ones(1), torch.ones(1), torch.zeros(1, dtype=torch.int64), 1)
    assert float(alone.value) == 1.0
    assert alone.standard_error().isnan()
    nothing = ratio_influence(torch.ones(0), torch.ones(0), torch.zeros(0, dtype=torch.int64), 0)
    assert nothing.value.isnan()
