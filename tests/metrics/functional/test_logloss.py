from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import log_loss

from distill.errors import DataError
from distill.metrics.functional.logloss import logloss


@pytest.mark.parametrize("weighted", [False, True])
def test_agrees_with_sklearn(weighted: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(200, generator=generator)
    labels = (torch.rand(200, generator=generator) < 0.3).float()
    weight = torch.rand(200, generator=generator) if weighted else None
    expected = log_loss(labels, logits.double().sigmoid(), sample_weight=weight)
    assert float(logloss(logits, labels, weight)) == pytest.approx(expected, rel=1e-12)


def test_large_logits_are_stable() -> None:
    assert float(logloss(torch.tensor([200.0, -200.0]), torch.tensor([0.0, 1.0]))) == 200.0
    assert float(logloss(torch.tensor([1e4, -math.inf]), torch.tensor([1.0, 0.0]))) == 0.0
    assert math.isinf(float(logloss(torch.tensor([-math.inf]), torch.tensor([1.0]))))


def test_one_row_and_no_rows() -> None:
    assert float(logloss(torch.zeros(1), torch.ones(1))) == pytest.approx(math.log(2))
    assert logloss(torch.zeros(0), torch.zeros(0)).isnan()


def test_labels_must_be_binary() -> None:
    with pytest.raises(DataError, match="other labels"):
        logloss(torch.zeros(1), torch.tensor([3.0]))
