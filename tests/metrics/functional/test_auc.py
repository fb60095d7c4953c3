from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from distill.errors import DataError
from distill.metrics.functional.auc import auc, grouped_auc


def _draw(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(n, generator=generator).round(decimals=1)
    labels = (torch.rand(n, generator=generator) < 0.3).float()
    return scores, labels, torch.rand(n, generator=generator), torch.randint(-3, 6, (n,), generator=generator)


def test_auc_by_hand_with_a_tie() -> None:
    # pairs (positive, negative): (2, 1) right, (2, 2) tie, (0, 1) wrong, (0, 2) wrong
    value = auc(torch.tensor([2.0, 0.0, 1.0, 2.0]), torch.tensor([1.0, 1.0, 0.0, 0.0]))
    assert float(value) == 1.5 / 4


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("weighted", [False, True])
def test_auc_agrees_with_sklearn(seed: int, weighted: bool) -> None:
    scores, labels, weight, _ = _draw(300, seed)
    expected = roc_auc_score(labels, scores, sample_weight=weight if weighted else None)
    assert float(auc(scores, labels, weight if weighted else None)) == pytest.approx(expected, abs=1e-12)


@given(
    rows=st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 1)), min_size=2, max_size=30),
    order=st.randoms(use_true_random=False),
)
def test_auc_ignores_row_order_and_monotone_maps(rows: list[tuple[int, int]], order: object) -> None:
    scores, labels = torch.tensor(rows).double().unbind(1)
    value = auc(scores, labels)
    order.shuffle(rows)  # type: ignore[attr-defined]
    other, other_labels = torch.tensor(rows).double().unbind(1)
    assert torch.equal(value, auc(other.exp(), other_labels)) or bool(value.isnan())
    assert bool(value.isnan()) == (len(set(labels.tolist())) == 1)


def test_one_class_one_row_and_no_rows_are_nan() -> None:
    for labels in (torch.ones(3), torch.zeros(3), torch.ones(1), torch.ones(0)):
        assert auc(torch.arange(len(labels)).float(), labels).isnan()


@pytest.mark.parametrize("weighted", [False, True])
def test_grouped_auc_agrees_with_a_loop_over_groups(weighted: bool) -> None:
    scores, labels, weight, group = _draw(200, 1)
    labels[group == 5] = 0  # a one-class group
    rows = weight if weighted else torch.ones(200)
    values, impressions = [], []
    for g in range(-3, 5):
        of_group = group == g
        values.append(roc_auc_score(labels[of_group], scores[of_group], sample_weight=rows[of_group]))
        impressions.append(float(rows[of_group].double().sum()))
    result = grouped_auc(scores, labels, group, weight if weighted else None)
    assert float(result.weighted) == pytest.approx(np.average(values, weights=impressions), abs=1e-12)
    assert float(result.unweighted) == pytest.approx(np.mean(values), abs=1e-12)
    assert (result.num_groups, result.num_skipped) == (8, 1)
    assert float(result.weighted) != pytest.approx(float(result.unweighted), abs=1e-4)


def test_grouped_auc_by_hand() -> None:
    # group 9: positive 1 against 0, right; group −1: positive 1 against 5, wrong, and 1, tie; group 4: one class
    scores = torch.tensor([0.0, 5.0, 1.0, 1.0, 1.0, 7.0])
    labels = torch.tensor([0, 0, 1, 1, 0, 1])
    group = torch.tensor([9, -1, -1, 9, -1, 4])
    result = grouped_auc(scores, labels, group)
    assert float(result.weighted) == pytest.approx((2 * 1 + 3 * 0.25) / 5)
    assert float(result.unweighted) == pytest.approx((1 + 0.25) / 2)
    assert (result.num_groups, result.num_skipped) == (2, 1)


def test_only_one_class_groups_give_nan() -> None:
    result = grouped_auc(torch.zeros(3), torch.tensor([1, 1, 0]), torch.tensor([0, 0, 1]))
    assert result.weighted.isnan()
    assert result.unweighted.isnan()
    assert (result.num_groups, result.num_skipped) == (0, 2)


def test_ids_beyond_float_precision_stay_apart() -> None:
    group = torch.tensor([2**60, 2**60, 2**60 + 1, 2**60 + 1])
    result = grouped_auc(torch.tensor([1.0, 0.0, 0.0, 1.0]), torch.tensor([1, 0, 1, 0]), group)
    assert result.num_groups == 2
    assert float(result.unweighted) == 0.5


def test_labels_must_be_binary() -> None:
    with pytest.raises(DataError, match=r"labels in \{0, 1\}"):
        auc(torch.zeros(2), torch.tensor([0.0, 0.5]))
