"""What a cascade with a student in it gives, beside a cascade whose ranker sees every candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from distill.cascade.stages import Cuts, Judged, Passed, places
from distill.metrics.functional.influence import Influence, ratio_influence
from distill.metrics.functional.reduce import PerRequest
from distill.ops.segment import segment_sum

LOSSES = ("prerank", "rank", "page")


@dataclass(frozen=True)
class Share:
    """A group of candidates: what of it the user should have seen and saw.

    Attributes:
        recall: Of those of the group that the ranker alone would show, the share that is shown.
        wanted: Share of the group in the pages of the ranker alone.
        shown: Share of the group in the pages.
    """

    recall: Influence
    wanted: float
    shown: float


@dataclass(frozen=True)
class Measured:
    """What was measured of one student at one k.

    Attributes:
        recalls: `ranked_recall`, `shown_recall` and `joint_recall`; see `measure`.
        value: V₃, the mean value of a place on the page, where values are known.
        lost: Stage to the value of a place that is lost in it; they sum to `best − value`.
        best: V₀, the mean value of a place on the best page.
        groups: Name of a division of the candidates to group to its share.
    """

    recalls: Mapping[str, PerRequest]
    value: PerRequest | None
    lost: Mapping[str, PerRequest]
    best: PerRequest | None
    groups: Mapping[str, Mapping[str, Share]]


@dataclass(frozen=True)
class Division:
    """A division of candidates into groups.

    Attributes:
        code: `[N]` int64, the group of each; −1 of none.
        names: Of the groups.
    """

    code: Tensor
    names: Sequence[str]


def measure(
    passed: Passed,
    alone: Passed,
    judged: Judged,
    cuts: Cuts,
    truth: Tensor,
    best: int,
    value: Tensor | None,
    divisions: Mapping[str, Division],
) -> Measured:
    """Measures a cascade.

    With S the page, S* the page of the ranker alone, P what the pre-ranker passed on, M* the ranker's first m of all
    candidates, T the first t of them by the truth, each of a request:

    - `ranked_recall` = |P ∩ M*| / |M*|
    - `shown_recall` = |S ∩ S*| / |S*|
    - `joint_recall` = |S ∩ T| / |T|

    With V(X) the mean value of the n best of X, a missing one counting 0: `prerank` loses V(C) − V(P), `rank`
    V(P) − V(M) with M what passed the ranker, `page` V(M) − v(S) with v the mean over the page.

    Args:
        passed: With the student.
        alone: Of the same candidates without a pre-ranker.
        judged: The candidates.
        cuts: How many each stage passes on.
        truth: What says which are the best `[N]`; NaN where it is not known.
        best: t.
        value: Of showing a candidate, at least 0 `[N]`; NaN where it is not known. None if no values are.
        divisions: Name to a division of the candidates.
    """
    wanted = places(truth, ~truth.isnan(), judged.index, judged.num_requests)
    recalls = {
        "ranked_recall": _overlap(passed.preranked, alone.ranked >= 0, judged),
        "shown_recall": _overlap(passed.shown, alone.shown, judged),
        "joint_recall": _overlap(passed.shown, (wanted >= 0) & (wanted < best), judged),
    }
    groups = {name: _shares(division, passed, alone, judged) for name, division in divisions.items()}
    if value is None:
        return Measured(recalls, None, {}, None, groups)
    found, lost, most = _losses(passed, judged, cuts.page, value)
    return Measured(recalls, found, lost, most, groups)


def _overlap(found: Tensor, wanted: Tensor, judged: Judged) -> PerRequest:
    both, all_ = (segment_sum(x.double(), judged.index, judged.num_requests) for x in (found & wanted, wanted))
    return PerRequest.of(both / all_, all_ > 0)


def _losses(
    passed: Passed, judged: Judged, page: int, value: Tensor
) -> tuple[PerRequest, dict[str, PerRequest], PerRequest]:
    """Returns V₃, the loss of each stage and V₀, over requests of which every candidate that was shown has a value."""
    known = ~value.isnan()
    has = segment_sum(known.double(), judged.index, judged.num_requests) > 0
    blind = segment_sum((passed.shown & ~known).double(), judged.index, judged.num_requests) > 0

    def mean(kept: Tensor) -> Tensor:
        amount = torch.where(kept & known, value, 0.0).double()
        return segment_sum(amount, judged.index, judged.num_requests) / page

    def best_of(among: Tensor) -> Tensor:
        place = places(value, among & known, judged.index, judged.num_requests)
        return mean((place >= 0) & (place < page))

    ladder = [best_of(torch.ones_like(known)), best_of(passed.preranked), best_of(passed.ranked >= 0)]
    ladder.append(mean(passed.shown))
    used = has & ~blind
    lost = {name: PerRequest.of(ladder[i] - ladder[i + 1], used) for i, name in enumerate(LOSSES)}
    return PerRequest.of(ladder[-1], used), lost, PerRequest.of(ladder[0], used)


def _shares(division: Division, passed: Passed, alone: Passed, judged: Judged) -> dict[str, Share]:
    found = {}
    for number, name in enumerate(division.names):
        own = division.code == number
        wanted = own & alone.shown
        recall = ratio_influence((wanted & passed.shown).double(), wanted.double(), judged.index, judged.num_requests)
        found[name] = Share(recall, _share(wanted, alone.shown), _share(own & passed.shown, passed.shown))
    return found


def _share(part: Tensor, whole: Tensor) -> float:
    number = int(whole.sum())
    return int(part.sum()) / number if number else float("nan")
