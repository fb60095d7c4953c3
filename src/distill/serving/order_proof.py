"""Holds re-ranking to a stored order, with room for near ties: two sound machines may choose differently in one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from distill.encodings.arrow import Int64
from distill.serving.diversity.criteria import FLOOR, Criterion, Determinant, Float64, standardised
from distill.serving.diversity.options import Rerank
from distill.serving.diversity.quotas import Limit, Quotas
from distill.serving.diversity.select import allowed

_COSINE = 1e-4  # how far a cosine may be from the stored one's: ten times what a logit may be


def first_wrong_place(
    criterion: Criterion,
    score: npt.NDArray[np.float32],
    bound: Float64,
    order: Int64,
    options: Rerank,
    limits: Sequence[Limit],
) -> int | None:
    """Follows a stored order and returns the first place at which it was not the greedy choice; None if it always was.

    At each place the stored choice must keep the quotas where any candidate can, and its gain may be below the largest
    one by no more than what the bounds of scores and cosines allow.

    Args:
        criterion: Of the candidates, none of which is chosen.
        score: Their ranking score `[N]`.
        bound: By how much each may differ from the stored one `[N]`.
        order: The stored order of all N.
        options: How they are re-ranked.
        limits: Quotas.
    """
    z, slack = standardised(score), _slack(score, bound)
    trade_off = 1.0 if options.trade_off is None else options.trade_off
    quotas, closed, error = Quotas(limits), np.zeros(len(score)), 0.0
    for place, chosen in enumerate(order.tolist()):
        others = next(a for a in allowed(closed, quotas.penalty()) if a.max() == 0) == 0
        low, high = _range(criterion, z, trade_off, slack, error)
        best = low[others].max()
        by_relevance = best == -np.inf and z[chosen] + slack[chosen] >= (z - slack)[others].max()
        if not others[chosen] or not (high[chosen] >= best > -np.inf or high[chosen] > -np.inf == best or by_relevance):
            return place
        if isinstance(criterion, Determinant):
            error += 2 * _COSINE / np.sqrt(max(float(criterion.variances[chosen]), FLOOR))
        closed[chosen] = -np.inf
        criterion.add(chosen)
        quotas.add(chosen)
    return None


def _slack(score: npt.NDArray[np.float32], bound: Float64) -> Float64:
    """How far a standardised score may be off: mean and deviation move by the bound too."""
    spread = float(score.astype(np.float64).std())
    largest = float(bound.max(initial=0.0))
    found: Float64 = 2 * largest / max(spread, 1e-30) * (1 + np.abs(standardised(score)))
    return found


def _range(criterion: Criterion, z: Float64, trade_off: float, slack: Float64, error: float) -> tuple[Float64, Float64]:
    """Returns the least and the largest that each gain may be `[N]`."""
    if not isinstance(criterion, Determinant):
        room = trade_off * slack + (1 - trade_off) * _COSINE
        return criterion.values() - room, criterion.values() + room
    ends = []
    for sign in (-1, 1):
        variances = criterion.variances + sign * error
        gain = trade_off * (z + sign * slack) + (1 - trade_off) * np.log(np.maximum(variances, FLOOR))
        ends.append(np.where(variances > FLOOR, gain, -np.inf))
    return ends[0], ends[1]
