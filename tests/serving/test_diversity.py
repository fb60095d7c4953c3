"""Greedy re-ranking against loops and determinants written out; quotas, odd vectors and odd scores."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.errors import DataError
from distill.serving.diversity import Limit, by_quotas, dpp, mmr
from distill.serving.diversity.criteria import FLOOR, standardised, unit_vectors

CASES = {
    "seed": st.integers(0, 10_000),
    "trade_off": st.sampled_from([0.0, 0.3, 0.7, 0.95, 1.0]),
    "window": st.sampled_from([None, 1, 2, 3, 5]),
}


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores and vectors of up to nine candidates; some vectors are equal, zero or nearly in the span of others."""
    rng = np.random.default_rng(seed)
    n, width = int(rng.integers(1, 10)), int(rng.integers(1, 7))
    vectors = rng.normal(size=(n, width)) * 10.0 ** rng.integers(-3, 4)
    if rng.random() < 0.4:
        vectors[rng.integers(n)] = vectors[rng.integers(n)]
    if rng.random() < 0.3:
        vectors[rng.integers(n)] = 0
    return rng.normal(size=n).astype(np.float32), vectors.astype(np.float32)


def cosines(vectors: np.ndarray) -> np.ndarray:
    """With ones on the diagonal, also of vectors that are zero."""
    rows = vectors.astype(np.float64)
    norms = np.linalg.norm(rows, axis=1)
    found = np.eye(len(rows))
    for i in range(len(rows)):
        for j in range(len(rows)):
            if i != j and norms[i] > 0 and norms[j] > 0:
                found[i, j] = rows[i] @ rows[j] / (norms[i] * norms[j])
    return found


@settings(max_examples=150, deadline=None)
@given(**CASES)
def test_mmr_is_the_formula_at_each_place(seed: int, trade_off: float, window: int | None) -> None:
    score, vectors = drawn(seed)
    found = mmr(score, vectors, len(score), trade_off, window).tolist()
    z, similar = standardised(score), cosines(vectors)
    assert sorted(found) == list(range(len(score)))
    for place, chosen in enumerate(found):
        before = found[:place] if window is None else found[:place][-window:]
        gains = {
            i: trade_off * z[i] - (1 - trade_off) * max((similar[i, j] for j in before), default=0.0)
            for i in set(range(len(score))) - set(found[:place])
        }
        assert gains[chosen] >= max(gains.values()) - 1e-5


@settings(max_examples=150, deadline=None)
@given(**CASES)
def test_dpp_grows_the_determinant_most_at_each_place(seed: int, trade_off: float, window: int | None) -> None:
    score, vectors = drawn(seed)
    found = dpp(score, vectors, len(score), trade_off, window).tolist()
    assert sorted(found) == list(range(len(score)))
    z, similar = standardised(score), cosines(vectors)
    for place, chosen in enumerate(found):
        left = sorted(set(range(len(score))) - set(found[:place]))
        if trade_off == 1:
            assert z[chosen] == max(z[i] for i in left)
            continue
        before = found[:place] if window is None else found[:place][-window:]
        before = independent(before, similar)
        quality = np.exp(trade_off / (2 * (1 - trade_off)) * z)
        kernel = quality[:, None] * similar * quality
        own = float(np.linalg.det(kernel[np.ix_(before, before)]))
        grown = {i: float(np.linalg.det(kernel[np.ix_([*before, i], [*before, i])])) / own for i in left}
        variances = {i: grown[i] / quality[i] ** 2 for i in left}
        gains = {i: (1 - trade_off) * math.log(grown[i]) for i in left if variances[i] > 2 * FLOOR}
        if gains:  # a variance near the floor may count or not
            gain = (1 - trade_off) * math.log(max(grown[chosen], 1e-300))
            assert gain >= max(gains.values()) - 1e-3
        elif max(variances.values()) < FLOOR / 2:
            assert z[chosen] == max(z[i] for i in left)


def independent(chosen: list[int], similar: np.ndarray) -> list[int]:
    """Chosen candidates whose vectors span what all of them span, so that their determinant is not zero."""
    kept: list[int] = []
    for i in chosen:
        own = np.linalg.det(similar[np.ix_(kept, kept)])
        if np.linalg.det(similar[np.ix_([*kept, i], [*kept, i])]) > 1e-6 * own:
            kept.append(i)
    return kept


def ends_within(chosen: list[int], limit: Limit) -> bool:
    """Whether the last place of a list keeps a quota: no more than `most` of its category in the window it ends."""
    own = [int(limit.codes[i]) for i in chosen]
    part = own if limit.window is None else own[-limit.window :]
    return own[-1] < 0 or part.count(own[-1]) <= limit.most


def drawn_limits(rng: np.random.Generator, n: int) -> list[Limit]:
    windows = [None if rng.random() < 0.4 else int(rng.integers(3, 6)) for _ in range(int(rng.integers(1, 3)))]
    return [Limit(rng.integers(-1, 4, n), int(rng.integers(1, 3)), window) for window in windows]


def able(before: list[int], n: int, limits: list[Limit]) -> list[int]:
    """Who may come next: those that keep all quotas, or all if none does."""
    left = sorted(set(range(n)) - set(before))
    return [i for i in left if all(ends_within([*before, i], limit) for limit in limits)] or left


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_quotas_alone_take_the_best_that_keeps_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 12))
    score, limits = rng.normal(size=n).astype(np.float32), drawn_limits(rng, n)
    wanted: list[int] = []
    for _ in range(n):
        wanted.append(max(able(wanted, n, limits), key=lambda i: score[i]))
    assert by_quotas(score, n, limits).tolist() == wanted


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10_000), window=st.sampled_from([None, 2]))
def test_quotas_hold_beside_vectors_wherever_they_can(seed: int, window: int | None) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 12))
    score, vectors, limits = rng.normal(size=n).astype(np.float32), rng.normal(size=(n, 4)), drawn_limits(rng, n)
    for choose in (mmr, dpp):
        order = choose(score, vectors, n, 0.5, window, limits).tolist()
        assert sorted(order) == list(range(n))
        assert all(chosen in able(order[:place], n, limits) for place, chosen in enumerate(order))


def test_a_window_of_places_by_hand() -> None:
    score = np.array([9, 8, 7, 6, 5, 4], np.float32)
    codes = np.array([0, 0, 0, 1, 1, -1])
    assert by_quotas(score, 6, [Limit(codes, 1, 2)]).tolist() == [0, 3, 1, 4, 2, 5]
    assert by_quotas(score, 4, [Limit(codes, 1)]).tolist() == [0, 3, 5, 1]  # at the last place none can keep it
    assert by_quotas(score, 3, [Limit(np.full(6, -1), 1)]).tolist() == [0, 1, 2]  # null shares with none


@pytest.mark.parametrize("choose", [mmr, dpp])
def test_ties_are_broken_by_place(choose: Any) -> None:
    score, vectors = np.zeros(5, np.float32), np.eye(5, dtype=np.float32)
    assert choose(score, vectors, 5, 0.5).tolist() == [0, 1, 2, 3, 4]
    assert choose(score, np.ones((5, 2), np.float32), 3, 0.5).tolist() == [0, 1, 2]


@pytest.mark.parametrize("choose", [mmr, dpp])
def test_relevance_alone_is_the_order_of_the_score(choose: Any) -> None:
    rng = np.random.default_rng(0)
    score = rng.normal(size=50).astype(np.float32)
    vectors = np.ones((50, 3), np.float32)
    np.testing.assert_array_equal(choose(score, vectors, 50, 1.0), np.argsort(-score, kind="stable"))


@pytest.mark.parametrize("choose", [mmr, dpp])
@pytest.mark.parametrize("window", [None, 3])
def test_an_equal_candidate_waits(choose: Any, window: int | None) -> None:
    score, vectors = np.array([2, 1.9, 1, 0], np.float32), np.array([[1, 0], [1, 0], [0, 1], [0.6, 0.8]], np.float32)
    assert choose(score, vectors, 2, 0.3, window).tolist() == [0, 2]
    assert choose(score, 1e30 * vectors, 2, 0.3, window).tolist() == [0, 2]  # the length of vectors does not matter
    assert choose(score * 1000 - 7, 1e-30 * vectors, 2, 0.3, window).tolist() == [0, 2]  # nor the scale of scores


def test_once_all_is_spanned_a_dpp_goes_on_by_relevance_and_a_window_does_not() -> None:
    rng = np.random.default_rng(1)
    score, vectors = rng.normal(size=40).astype(np.float32), rng.normal(size=(40, 4)).astype(np.float32)
    found = dpp(score, vectors, 40, 0.2).tolist()
    rest = sorted(set(range(40)) - set(found[:4]), key=lambda i: -score[i])
    assert found[4:] == rest
    assert dpp(score, vectors, 40, 0.2, 3).tolist()[4:] != rest


@pytest.mark.parametrize("choose", [mmr, dpp])
@pytest.mark.parametrize("window", [None, 2])
def test_what_is_not_finite_is_handled(choose: Any, window: int | None) -> None:
    score = np.array([np.nan, 1, 3, np.inf, 2, -np.inf], np.float32)
    vectors = np.array([[1, 0], [np.nan, 0], [1, 0], [0, 1], [1, 0], [0, 0]], np.float32)
    found = choose(score, vectors, 6, 0.1, window).tolist()
    assert found[:3] == [2, 1, 4]  # 1 has no vector, so it is like no other
    assert found[3:] == [3, 5, 0]  # behind all others in the order of the score
    assert choose(score, np.zeros((6, 2), np.float32), 3, 0.5, window).tolist() == [2, 4, 1]
    assert choose(np.full(3, np.nan, np.float32), vectors[:3], 2, 0.5, window).tolist() == [0, 1]
    assert choose(np.empty(0, np.float32), np.empty((0, 2), np.float32), 2, 0.5, window).tolist() == []
    assert choose(score[:2], np.empty((2, 0), np.float32), 2, 0.5, window).tolist() == [1, 0]


def test_the_scale_of_relevance_is_that_of_the_request() -> None:
    np.testing.assert_allclose(standardised(np.array([1, 3, np.nan])), [-1, 1, -np.inf])
    np.testing.assert_array_equal(standardised(np.full(3, 7.0)), [0, 0, 0])
    units = unit_vectors(np.array([[3, 4], [0, 0], [1e-9, 0], [np.inf, 1]]))
    np.testing.assert_allclose(units, [[0.6, 0.8], [0, 0], [0, 0], [0, 0]], rtol=1e-6)


def test_a_long_window_of_equal_vectors_stays_exact() -> None:
    """Vectors leave a window hundreds of times; what is left then is what is computed anew."""
    rng = np.random.default_rng(3)
    vectors = np.repeat(rng.normal(size=(100, 8)), 3, axis=0).astype(np.float32)
    score = rng.normal(size=300).astype(np.float32)
    found, z, units = dpp(score, vectors, 300, 0.3, 5), standardised(score), unit_vectors(vectors).astype(np.float64)
    for place in range(5, 300):
        left = np.setdiff1d(np.arange(300), found[:place])
        basis = np.linalg.svd(units[found[place - 5 : place]], full_matrices=False)
        spanning = basis.Vh[basis.S > 1e-3]
        variances = 1 - np.square(units[left] @ spanning.T).sum(1)
        gains = np.where(variances > FLOOR, 0.3 * z[left] + 0.7 * np.log(np.maximum(variances, FLOOR)), -np.inf)
        if gains.max() > -np.inf:
            assert gains[left == found[place]] >= gains.max() - 1e-3


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"relevance": np.zeros((3, 1))}, "relevance"),
        ({"vectors": np.zeros(3)}, "vectors"),
        ({"vectors": np.zeros((2, 2))}, "vectors"),
        ({"limits": [Limit(np.zeros(2, np.int64), 1)]}, "limits"),
        ({"k": -1}, "k"),
        ({"trade_off": 1.5}, "trade_off"),
        ({"trade_off": float("nan")}, "trade_off"),
        ({"window": 0}, "window"),
    ],
)
def test_what_does_not_go_together_is_an_error(change: dict[str, Any], where: str) -> None:
    given: dict[str, Any] = {"relevance": np.zeros(3), "vectors": np.zeros((3, 2)), "k": 2, "trade_off": 0.5}
    for choose in (mmr, dpp):
        with pytest.raises(DataError, match=where):
            choose(**{**given, **change})
