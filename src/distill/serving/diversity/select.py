"""Greedy re-ranking: at each place the candidate with the largest gain that keeps the quotas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from distill.encodings.arrow import Int64
from distill.errors import DataError
from distill.serving.diversity.criteria import (
    ByRelevance,
    Criterion,
    Determinant,
    Float64,
    MarginalRelevance,
    standardised,
    unit_vectors,
)
from distill.serving.diversity.quotas import Limit, Quotas

Array = npt.NDArray[Any]


def mmr(
    relevance: Array, vectors: Array, k: int, trade_off: float, window: int | None = None, limits: Sequence[Limit] = ()
) -> Int64:
    """Chooses k of N candidates by maximal marginal relevance: argmax_i λ·z_i − (1 − λ)·max_{j∈S} cos_ij.

    z is the relevance, standardised over the N candidates (see `standardised`). Of equal gains the first candidate
    wins; candidates whose relevance is not finite come after all others. Vectors that are zero or not finite are
    like no other.

    Args:
        relevance: `[N]`, such as the ranking score.
        vectors: `[N, D]`.
        k: How many; N if that is less.
        trade_off: λ in [0, 1]; 1 is relevance alone.
        window: Only the last so many chosen count against a candidate; None for all.
        limits: Quotas. Where no candidate keeps them all, the best of all comes.

    Returns:
        Positions `[min(k, N)]` in the order in which they were chosen.

    Raises:
        DataError: A number is out of its range, or arrays do not go together.

    Reference:
        Carbonell and Goldstein, SIGIR 1998; see `MarginalRelevance`.
    """
    _check(relevance, vectors, k, trade_off, window, limits)
    return choose(criterion_of("mmr", relevance, vectors, k, trade_off, window), relevance, k, limits)


def dpp(
    relevance: Array, vectors: Array, k: int, trade_off: float, window: int | None = None, limits: Sequence[Limit] = ()
) -> Int64:
    """Chooses k of N candidates by greedy MAP of a determinantal point process: argmax_i λ·z_i + (1 − λ)·log d_i².

    Where all candidates are in the span of the chosen ones (d² ≤ 1e-5), the best by relevance comes.

    Args:
        relevance: See `mmr`, and so of the other arguments.
        vectors: See `mmr`.
        k: See `mmr`.
        trade_off: See `mmr`.
        window: See `mmr`; k beyond D wants one below D.
        limits: See `mmr`.

    Returns:
        See `mmr`.

    Raises:
        DataError: See `mmr`.

    Reference:
        Chen, Zhang and Zhou, NeurIPS 2018, arXiv:1709.05135; see `Determinant`.
    """
    _check(relevance, vectors, k, trade_off, window, limits)
    return choose(criterion_of("dpp", relevance, vectors, k, trade_off, window), relevance, k, limits)


def by_quotas(relevance: Array, k: int, limits: Sequence[Limit]) -> Int64:
    """Chooses k of N candidates by relevance, within quotas; see `mmr`.

    Raises:
        DataError: See `mmr`.
    """
    _check(relevance, None, k, 1.0, None, limits)
    return choose(ByRelevance(standardised(relevance)), relevance, k, limits)


def criterion_of(
    kind: str, relevance: Array, vectors: Array | None, k: int, trade_off: float | None, window: int | None
) -> Criterion:
    """Returns what `mmr`, `dpp` or `quotas` maximise; with a trade-off of 1 that is relevance."""
    z = standardised(relevance)
    if window is not None and window >= min(k, len(z)):
        window = None  # all that were chosen count
    if kind == "quotas" or trade_off == 1:
        return ByRelevance(z)
    assert vectors is not None
    assert trade_off is not None
    made = MarginalRelevance if kind == "mmr" else Determinant
    return made(z, unit_vectors(vectors), trade_off, window)


def choose(criterion: Criterion, relevance: Array, k: int, limits: Sequence[Limit]) -> Int64:
    """Chooses k of N candidates greedily.

    Args:
        criterion: Says their gains.
        relevance: `[N]`.
        k: How many; N if that is less.
        limits: Quotas.
    """
    order = np.argsort(-relevance, kind="stable")
    finite = np.isfinite(relevance)
    z, quotas = standardised(relevance), Quotas(limits)
    closed = np.where(finite, 0.0, -np.inf)
    chosen: list[int] = []
    for _ in range(min(k, int(finite.sum()))):
        place = _best(criterion.values(), z, closed, quotas.penalty())
        chosen.append(place)
        closed[place] = -np.inf
        criterion.add(place)
        quotas.add(place)
    rest = order[~finite[order]][: min(k, len(order)) - len(chosen)]
    return np.concatenate([np.array(chosen, np.int64), rest])


def allowed(closed: Float64, penalty: Float64 | None) -> Iterator[Float64]:
    """Gives 0 of candidates that may come next and −inf of the others `[N]`: within quotas first, then all."""
    if penalty is not None:
        yield closed + penalty
    yield closed


def _best(gains: Float64, relevance: Float64, closed: Float64, penalty: Float64 | None) -> int:
    for open_ in allowed(closed, penalty):
        for values in (gains, relevance):
            total = values + open_
            best = int(total.argmax())
            if total[best] > -np.inf:
                return best
    raise AssertionError("a finite candidate is open")


def _check(
    relevance: Array, vectors: Array | None, k: int, trade_off: float, window: int | None, limits: Sequence[Limit]
) -> None:
    n = len(relevance)
    sizes = {
        "vectors": n if vectors is None else len(vectors),
        **{f"codes {i}": len(x.codes) for i, x in enumerate(limits)},
    }
    wrong = [
        (relevance.ndim != 1, "relevance", "[N]", f"{relevance.shape}"),
        (
            vectors is not None and vectors.ndim != 2,
            "vectors",
            "[N, D]",
            f"{None if vectors is None else vectors.shape}",
        ),
        (any(size != n for size in sizes.values()), "vectors, limits", f"a row for each of {n} candidates", f"{sizes}"),
        (k < 0, "k", "a number from 0 on", f"{k}"),
        (not 0 <= trade_off <= 1, "trade_off", "a number in [0, 1]", f"{trade_off}"),
        (window is not None and window < 1, "window", "at least 1, or None", f"{window}"),
    ]
    for is_wrong, where, expected, found in wrong:
        if is_wrong:
            raise DataError("Candidates cannot be re-ranked.", where=where, expected=expected, found=found)
