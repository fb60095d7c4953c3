"""Mutual information against scikit-learn, and at its ends."""

import numpy as np
import torch
from sklearn.metrics import mutual_info_score

from distill.ops.information import mutual_information


def test_equals_scikit_learn_for_every_pair():
    rng = np.random.default_rng(0)
    codes = np.stack([rng.integers(0, k, 500) for k in (2, 5, 40)], axis=1) * 1_000_003 - 7
    codes = np.concatenate([codes, codes[:, :1] + codes[:, 1:2]], axis=1)
    found = mutual_information(torch.tensor(codes)).numpy()
    expected = [[mutual_info_score(a, b) for b in codes.T] for a in codes.T]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_array_equal(found, found.T)


def test_by_hand():
    """The first two say the same in other words, the third nothing of them, the fourth all of each."""
    codes = torch.tensor([[0, 5, 0, 1], [0, 5, 1, 2], [1, 9, 0, 3], [1, 9, 1, 4]])
    two, four = np.log(2), np.log(4)
    expected = [[two, two, 0, two], [two, two, 0, two], [0, 0, two, two], [two, two, two, four]]
    np.testing.assert_allclose(mutual_information(codes).numpy(), expected, atol=1e-12)


def test_one_row_and_none_tell_nothing():
    for rows in (0, 1):
        assert torch.equal(mutual_information(torch.zeros(rows, 3, dtype=torch.int64)), torch.zeros(3, 3).double())
