"""Measures of diversity against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from distill.errors import DataError
from distill.serving.diversity import alpha_ndcg, category_coverage, intra_list_distance


def test_intra_list_distance_is_the_mean_over_pairs() -> None:
    vectors = np.array([[1, 0], [0, 2], [3, 3]])  # cosines 0, 1/√2, 1/√2
    assert intra_list_distance(vectors) == pytest.approx(1 - math.sqrt(2) / 3, abs=1e-6)
    assert intra_list_distance(np.array([[1, 0], [2, 0]])) == pytest.approx(0, abs=1e-6)
    assert intra_list_distance(np.array([[1.0, 0], [-1, 0]])) == pytest.approx(2, abs=1e-6)
    assert intra_list_distance(np.array([[1.0, 0], [0, 0], [np.nan, 0]])) == pytest.approx(1)
    assert math.isnan(intra_list_distance(np.ones((1, 2))))


def test_category_coverage_is_a_share_of_the_categories_there_are() -> None:
    among = np.array([0, 0, 1, 2, 3, -1])
    assert category_coverage(np.array([0, 0, 2, -1]), among) == 0.5
    assert category_coverage(np.array([], np.int64), among) == 0
    assert math.isnan(category_coverage(np.array([-1]), np.array([-1, -1])))


def test_alpha_ndcg_by_hand() -> None:
    codes, relevant = np.array([0, 0, 1, 1]), np.array([True, True, True, False])
    order = np.array([0, 1, 2, 3])
    log3 = math.log2(3)
    # Gains 1, 1/2 (the category came before), 1; at best the two categories come first: 1, 1, 1/2.
    wanted = (1 + 0.5 / log3 + 1 / 2) / (1 + 1 / log3 + 0.5 / 2)
    assert alpha_ndcg(codes, relevant, order, 4) == pytest.approx(wanted)
    assert alpha_ndcg(codes, relevant, np.array([0, 2, 1, 3]), 4) == pytest.approx(1)
    assert alpha_ndcg(codes, relevant, np.array([3, 2]), 2) == pytest.approx((1 / log3) / (1 + 1 / log3))
    assert alpha_ndcg(codes, relevant, order, 2, alpha=0.0) == pytest.approx(1)  # NDCG of binary labels
    assert alpha_ndcg(codes, relevant, order, 2, alpha=1.0) == pytest.approx(1 / (1 + 1 / log3))


def test_alpha_ndcg_of_no_category_and_of_nothing_relevant() -> None:
    assert alpha_ndcg(np.array([-1, -1]), np.array([True, True]), np.array([1, 0]), 2) == pytest.approx(1)
    assert math.isnan(alpha_ndcg(np.array([0]), np.array([False]), np.array([0]), 1))
    assert alpha_ndcg(np.array([0, 1]), np.array([True, True]), np.array([], np.int64), 2) == 0
    with pytest.raises(DataError, match="k, alpha"):
        alpha_ndcg(np.array([0]), np.array([True]), np.array([0]), 0)
    with pytest.raises(DataError, match="k, alpha"):
        alpha_ndcg(np.array([0]), np.array([True]), np.array([0]), 1, alpha=2.0)
