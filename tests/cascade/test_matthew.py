"""How exposures concentrate, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from distill.cascade.matthew import spread


def test_a_round_by_hand() -> None:
    """Ten items were there, the last two of them new; two more have not arrived."""
    exposures = torch.tensor([50, 20, 10, 0, 0, 5, 5, 0, 10, 0, 0, 0])
    candidates = torch.tensor([100, 100, 100, 50, 50, 50, 50, 0, 60, 40, 0, 0])
    tail = torch.arange(12) >= 5
    found = spread(exposures, candidates, 10, tail, 8)
    assert found["top_1_percent"] == found["top_10_percent"] == 0.5  # one item of ten
    assert found["coverage"] == pytest.approx(6 / 10)
    assert found["tail"] == pytest.approx(20 / 100)
    assert found["new"] == pytest.approx(10 / 100)
    assert found["new_lift"] == pytest.approx((10 / 100) / (100 / 600))
    ordered = sorted(exposures[:10].tolist())
    assert found["gini"] == pytest.approx(sum((2 * i - 11) * x for i, x in enumerate(ordered, 1)) / (10 * 100))


def test_equal_exposures_have_no_matthew_effect_and_no_new_items_no_lift() -> None:
    found = spread(torch.full((100,), 7), torch.full((100,), 9), 100, torch.zeros(100, dtype=torch.bool), 100)
    assert found["gini"] == pytest.approx(0.0)
    assert found["top_1_percent"] == pytest.approx(0.01)
    assert found["coverage"] == 1.0
    assert math.isnan(found["new_lift"])
