"""What values are: cardinalities, groups, deviations."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from distill.data.propose.values import Values, deviations, groups_of, same_lengths


def test_numbers_are_described() -> None:
    values = Values("x", pa.array([1.0, 2.0, None, float("nan"), 9.0, 1.0]))
    assert (values.distinct, values.low, values.high, values.is_whole, values.has_nan) == (3, 1.0, 9.0, True, True)
    assert values.seen() == "float, 3 different, 1 to 9, 33.3 % missing"
    assert not Values("x", pa.array([1.0, None])).has_nan


def test_skewness_is_the_third_standardised_moment() -> None:
    numbers = np.array([0.0, 0.0, 0.0, 1.0])  # E(x−μ)³ / σ³ = (1−2p) / √(p(1−p)) with p = 1/4
    assert Values("x", pa.array(numbers)).skewness == pytest.approx(0.5 / np.sqrt(3 / 16))
    assert Values("x", pa.array([3.0, 3.0])).skewness == 0.0


def test_lists_are_described() -> None:
    values = Values("x", pa.array([[1, 2], None, [2, 3, 4]]))
    assert values.lengths.tolist() == [2, 3]
    assert values.inner.distinct == 4
    assert values.seen() == "list of int, 2 to 3 values each, 4 different, 33.3 % missing"


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([0, 1, None]), True),
        (pa.array([True]), True),
        (pa.array([0.0, 1.0]), True),
        (pa.array([0, 2]), False),
        (pa.array(["0", "1"]), False),
        (pa.nulls(3), False),
    ],
)
def test_binary_values(array: pa.Array, expected: bool) -> None:
    assert Values("x", array).is_binary is expected


def test_each_null_is_a_group_of_its_own() -> None:
    assert groups_of(pa.array(["b", "a", None, "b", None])).tolist() == [0, 1, 2, 0, 3]


def test_deviations_from_the_first_of_a_group() -> None:
    groups = groups_of(pa.array([7, 8, 7, 7, 8]))
    assert deviations(pa.array([1, 2, 1, 5, 2]), groups) == (1, 3)
    assert deviations(pa.array([[1], [2], [1], [1], [2, 3]]), groups) == (1, 3)
    assert deviations(pa.array([1, 2]), np.array([0, 1])) == (0, 0)


def test_lengths_agree_in_every_row_and_so_do_nulls() -> None:
    left = pa.array([[1, 2], [], None])
    assert same_lengths(left, pa.array([["a", "b"], [], None]))
    assert not same_lengths(left, pa.array([["a"], ["b"], None]))
    assert not same_lengths(left, pa.array([["a", "b"], None, []]))
