"""What a log tells of a cascade that did not write it: how much of it the ranker knows, and what users would do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from distill.cascade.stages import Judged, Passed
from distill.errors import ConfigError, DataError
from distill.metrics.functional.influence import Influence, ratio_influence
from distill.ops.segment import segment_count, segment_sum


def coverage(passed: Passed, judged: Judged, page: int) -> Mapping[str, float]:
    """Says how much of what a student passes on the log's ranker scored.

    Args:
        passed: With the student.
        judged: The candidates.
        page: n.

    Returns:
        `passed_on`, the share of the candidates that the student passes on; `requests`, the share of the requests all
        of whose such candidates are scored; `places_at_stake`, the share of the places on pages that candidates without
        a score could take at most, min(n, their number) / n a request.
    """
    unknown = (passed.preranked & ~judged.known).double()
    open_ = segment_sum(unknown, judged.index, judged.num_requests)
    size = segment_count(judged.index, judged.num_requests).clamp(max=page)
    return {
        "passed_on": float(1 - unknown.sum() / passed.preranked.sum()),
        "requests": float((open_ == 0).double().mean()),
        "places_at_stake": float(torch.minimum(open_, size.double()).sum() / size.sum()),
    }


@dataclass(frozen=True)
class Estimate:
    """What users would do with the pages of a student, by what they did with those of the log.

    Attributes:
        ips: Positives per place, by inverse propensity.
        snips: The same, self-normalised.
        logged: Positives per place of the log, on the rows that have a propensity.
        effective: Effective sample size (Σw)² / Σw², in rows.
        rows: Rows with a propensity and a label that are on the page too.
        clipped: Share of their weights that were clipped.
    """

    ips: Influence
    snips: Influence
    logged: Influence
    effective: float
    rows: int
    clipped: float


def estimate(
    passed: Passed, judged: Judged, propensity: Tensor, label: Tensor, observed: Tensor, clip: float
) -> Estimate:
    """Estimates positives per place from shown rows whose probability to be shown is known.

    With w_i = [i ∈ S]·min(1/p_i, c): IPS = Σ w_i y_i / Σ_r |S_r|, over the requests that have a propensity;
    SNIPS = Σ w_i y_i / Σ w_i. Each row stands for itself: what its place on the page and its neighbours do to its label
    is taken to be as in the log. Clipping makes the estimate too low (IPS), and less noisy.

    Args:
        passed: With the student.
        judged: The candidates.
        propensity: Probability that the log's policy showed the candidate, in (0, 1] `[N]`; NaN where it is not known,
            as in requests that were not random traffic.
        label: y `[N]`.
        observed: Whether the label was observed `[N]` bool.
        clip: c, the largest weight.

    Raises:
        ConfigError: c is below 1.
        DataError: A propensity is not in (0, 1], or there is none.

    Reference:
        Horvitz and Thompson, 1952; clipped as in Ionides, Truncated importance sampling, 2008; Swaminathan and
        Joachims, The self-normalized estimator for counterfactual learning, NeurIPS 2015; rows on their own as the
        item-position model without positions of Li et al., Offline evaluation of ranking policies with click models,
        KDD 2018, arXiv:1804.10488. Effective sample size: Kish, Survey Sampling, 1965.
    """
    if not clip >= 1:
        raise ConfigError(
            "The clip of weights must be at least 1.", where="clip", expected="1 or more", found=f"{clip:g}"
        )
    known = ~propensity.isnan()
    if not bool(known.any()) or bool(((propensity <= 0) | (propensity > 1)).any()):
        raise DataError(
            "The values are not propensities.",
            where="propensity",
            expected="numbers in (0, 1], null where unknown",
            found="only nulls" if not bool(known.any()) else f"{float(propensity[known].min())} among them",
        )
    index, num_requests = judged.index, judged.num_requests
    random = segment_sum(known.double(), index, num_requests)[index] > 0
    used = known & observed & passed.shown
    raw = torch.where(used, 1 / propensity.double(), 0.0)
    weight, y = raw.clamp(max=clip), torch.where(used, label, 0.0).double()
    logged = known & observed
    return Estimate(
        ips=ratio_influence(weight * y, (random & passed.shown).double(), index, num_requests),
        snips=ratio_influence(weight * y, weight, index, num_requests),
        logged=ratio_influence(torch.where(logged, label, 0.0), logged.double(), index, num_requests),
        effective=float(weight.sum() ** 2 / weight.square().sum()),
        rows=int(used.sum()),
        clipped=float((raw > clip).sum() / used.sum()),
    )
