"""What is measured of the diversity of a list, the best first."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from distill.encodings.arrow import Int64
from distill.errors import DataError
from distill.serving.diversity.criteria import unit_vectors


def intra_list_distance(vectors: npt.NDArray[Any]) -> float:
    """Returns the mean of 1 − cos_ij over all pairs of a list; NaN of fewer than two.

    Args:
        vectors: `[n, D]`; one that is zero or not finite is at distance 1 of all others.

    Reference:
        Ziegler, McNee, Konstan and Lausen, Improving recommendation lists through topic diversification, WWW 2005,
        whose intra-list similarity sums over pairs; as a mean distance in Zhang and Hurley, RecSys 2008.
    """
    n = len(vectors)
    if n < 2:
        return float("nan")
    units = unit_vectors(vectors).astype(np.float64)
    total = units.sum(0)
    similarity = float(total @ total - np.square(units).sum())  # over ordered pairs
    return 1 - similarity / (n * (n - 1))


def category_coverage(codes: Int64, among: Int64) -> float:
    """Returns the share of the categories of all candidates that a list has; NaN if they have none.

    Args:
        codes: Category of each of the list `[n]`, from 0 on; −1 is none.
        among: Category of each candidate `[N]`.
    """
    known = np.unique(among[among >= 0])
    return len(np.intersect1d(codes, known)) / len(known) if len(known) else float("nan")


def alpha_ndcg(codes: Int64, relevant: npt.NDArray[np.bool_], order: Int64, k: int, alpha: float = 0.5) -> float:
    """Returns α-NDCG@k, with the category of a candidate as its only nugget.

    α-DCG@k = Σ_{rank ≤ k} y (1 − α)^s / log2(1 + rank), s the number of relevant candidates of the same category
    before; over that of the best order, which is exact here: each category gives (1 − α)^0, (1 − α)^1, …, and the
    largest come first. A candidate without a category is one of its own.

    Args:
        codes: Category of each candidate `[N]`, from 0 on; −1 is none.
        relevant: y `[N]`.
        order: Positions of the candidates of the list, the best first.
        k: Cut-off.
        alpha: α in [0, 1].

    Returns:
        In [0, 1]; NaN if no candidate is relevant.

    Raises:
        DataError: k or α is out of its range.

    Reference:
        Clarke et al., Novelty and diversity in information retrieval evaluation, SIGIR 2008 (equations 3 to 5).
    """
    if k < 1 or not 0 <= alpha <= 1:
        raise DataError("α-NDCG needs k from 1 on and α in [0, 1].", where="k, alpha", found=f"{k}, {alpha}")
    own = np.where(codes < 0, np.arange(len(codes)) + codes.max(initial=-1) + 1, codes)
    first, all_ = np.asarray(order[:k], np.int64), np.flatnonzero(relevant)
    gains = np.where(relevant[first], (1 - alpha) ** _seen(own[first], relevant[first]), 0.0)
    ideal = np.sort((1 - alpha) ** _seen(own[all_], np.ones(len(all_), np.bool_)))[::-1][:k]
    best = _discounted(ideal)
    return _discounted(gains) / best if best > 0 else float("nan")


def _seen(codes: Int64, relevant: npt.NDArray[np.bool_]) -> Int64:
    """Returns of how many relevant ones before each the category is the same `[n]`."""
    by_code = np.argsort(codes, kind="stable")
    counted = relevant[by_code].astype(np.int64)
    before = np.cumsum(counted) - counted
    starts = np.flatnonzero(np.diff(codes[by_code], prepend=-1)) if len(codes) else np.empty(0, np.int64)
    first = np.repeat(before[starts], np.diff(np.append(starts, len(codes))))
    out = np.empty(len(codes), np.int64)
    out[by_code] = before - first
    return out


def _discounted(gains: npt.NDArray[np.float64]) -> float:
    return float((gains / np.log2(2 + np.arange(len(gains)))).sum())
