from __future__ import annotations

import numpy as np
import pytest
import torch

from distill.errors import ConfigError
from distill.metrics.functional.calibration import expected_calibration_error, pcoc
from distill.metrics.functional.ties import TieOrder, order_by


def test_pcoc_by_hand() -> None:
    probs, labels = torch.tensor([0.2, 0.4, 0.9]), torch.tensor([0.0, 1.0, 1.0])
    assert float(pcoc(probs, labels)) == pytest.approx(1.5 / 2)
    assert float(pcoc(probs, labels, torch.tensor([1.0, 2.0, 0.0]))) == pytest.approx(1.0 / 2)
    assert pcoc(probs, torch.zeros(3)).isnan()
    assert pcoc(probs[:0], labels[:0]).isnan()


def test_ece_of_distinct_probabilities_is_that_of_equal_splits() -> None:
    rng = np.random.default_rng(0)
    probs = rng.permutation(np.linspace(0.01, 0.99, 60))
    labels = (rng.random(60) < probs**2).astype(float)
    parts = np.split(np.argsort(probs), 6)
    expected = sum(len(part) / 60 * abs(probs[part].mean() - labels[part].mean()) for part in parts)
    found = expected_calibration_error(torch.from_numpy(probs), torch.from_numpy(labels), 6)
    assert float(found) == pytest.approx(expected, rel=1e-12)


def test_integer_weights_count_as_copies() -> None:
    generator = torch.Generator().manual_seed(0)
    probs = torch.rand(40, generator=generator)
    labels = (torch.rand(40, generator=generator) < 0.5).float()
    copies = torch.randint(0, 4, (40,), generator=generator)
    weighted = expected_calibration_error(probs, labels, 5, copies)
    repeated = expected_calibration_error(probs.repeat_interleave(copies), labels.repeat_interleave(copies), 5)
    assert float(weighted) == pytest.approx(float(repeated), rel=1e-12)


def test_ties_make_row_order_irrelevant() -> None:
    labels = torch.tensor([1.0, 1.0, 0.0, 0.0])
    for order in ([0, 1, 2, 3], [2, 3, 0, 1], [0, 2, 1, 3]):
        assert float(expected_calibration_error(torch.full((4,), 0.5), labels[order], 2)) == 0.0


def test_a_tie_over_the_border_of_two_bins_goes_where_its_middle_is() -> None:
    probs, labels = torch.tensor([0.1, 0.5, 0.5, 0.5], dtype=torch.float64), torch.tensor([1.0, 0.0, 0.0, 0.0])
    # the three halves lie from ¼ to 1 of the mass, their middle in the second bin
    assert float(expected_calibration_error(probs, labels, 2)) == pytest.approx((0.9 + 3 * 0.5) / 4)


def test_one_row_no_rows_no_bins() -> None:
    assert float(expected_calibration_error(torch.tensor([0.25]), torch.ones(1))) == 0.75
    assert expected_calibration_error(torch.zeros(0), torch.zeros(0)).isnan()
    with pytest.raises(ConfigError, match="no bins"):
        expected_calibration_error(torch.zeros(1), torch.zeros(1), 0)


def test_there_are_twenty_bins_unless_said_otherwise_and_may_be_one() -> None:
    rng = np.random.default_rng(1)
    probs, labels = torch.from_numpy(rng.random(200)), torch.from_numpy((rng.random(200) < 0.4).astype(float))
    values = {bins: float(expected_calibration_error(probs, labels, bins)) for bins in (1, 19, 20, 21)}
    assert len(set(values.values())) == 4
    assert float(expected_calibration_error(probs, labels)) == values[20]
    assert values[1] == pytest.approx(abs(float(probs.mean() - labels.mean())))


def test_less_than_one_click_is_enough_for_a_ratio() -> None:
    assert float(pcoc(torch.tensor([0.5, 0.25]), torch.tensor([0.5, 0.0]))) == 1.5


@pytest.mark.parametrize("falling", [False, True])
def test_an_order_of_scores_is_used_only_where_probabilities_grow_with_it(falling: bool) -> None:
    rng = np.random.default_rng(2)
    probs = torch.from_numpy(rng.random(50).round(1))
    labels = torch.from_numpy((rng.random(50) < 0.4).astype(float))
    expected = float(expected_calibration_error(probs, labels, 5))
    scores = probs + torch.linspace(0, 1e-3, 50).double()  # scores that differ are one probability
    given = order_by(-scores if falling else scores)
    assert float(expected_calibration_error(probs, labels, 5, by_score=given)) == pytest.approx(expected, rel=1e-12)
    one_swap = TieOrder(given.order[[0, 49, *range(2, 49), 1]], given.block)
    assert float(expected_calibration_error(probs, labels, 5, by_score=one_swap)) == pytest.approx(expected, rel=1e-12)
