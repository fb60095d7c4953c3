from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import precision_recall_fscore_support

from distill.metrics.functional.threshold import precision_recall_f1


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.99])
@pytest.mark.parametrize("weighted", [False, True])
def test_agrees_with_sklearn(threshold: float, weighted: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    probs = torch.rand(100, generator=generator)
    labels = (torch.rand(100, generator=generator) < 0.3).float()
    weight = torch.rand(100, generator=generator) if weighted else None
    expected = precision_recall_fscore_support(
        labels, probs >= threshold, average="binary", sample_weight=weight, zero_division=np.nan
    )
    found = precision_recall_f1(probs, labels, threshold, weight)
    assert [float(value) for value in found] == pytest.approx(expected[:3], nan_ok=True)


def test_a_row_at_the_threshold_is_predicted() -> None:
    found = precision_recall_f1(torch.tensor([0.5, 0.25]), torch.tensor([1.0, 1.0]), 0.5)
    assert [float(value) for value in found] == pytest.approx([1.0, 0.5, 2 / 3])


def test_empty_denominators_are_nan() -> None:
    nothing_predicted = precision_recall_f1(torch.zeros(2), torch.tensor([1.0, 0.0]))
    assert nothing_predicted.precision.isnan()
    assert (float(nothing_predicted.recall), float(nothing_predicted.f1)) == (0.0, 0.0)
    no_positive = precision_recall_f1(torch.ones(2), torch.zeros(2))
    assert no_positive.recall.isnan()
    assert (float(no_positive.precision), float(no_positive.f1)) == (0.0, 0.0)
    assert all(value.isnan() for value in precision_recall_f1(torch.zeros(0), torch.zeros(0)))
