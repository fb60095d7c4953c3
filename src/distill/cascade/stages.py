"""Candidates on their way through pre-ranker, ranker and re-ranker.

Shapes: N candidates in R requests; `index [N]`, sorted, says of which request each is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from distill.errors import ConfigError
from distill.ops.segment import segment_argsort, segment_count, segment_start

Pages = Callable[[Tensor], Tensor]
"""From the ranker's place of each candidate `[N]` int64 (0 the best; −1 of those that it cut) to the place on the page
(−1 of those that are not shown)."""

_SEED = 0  # of how ties are broken: the same for all students


@dataclass(frozen=True)
class Cuts:
    """How many candidates of a request each stage passes on.

    Attributes:
        prerank: k, of the pre-ranker.
        rank: m, of the ranker.
        page: n, that are shown.
    """

    prerank: int
    rank: int
    page: int

    def __post_init__(self) -> None:
        if not 1 <= self.page <= self.rank <= self.prerank:
            raise ConfigError(
                "Each stage of the cascade must pass on at most what it receives.",
                where="ks, ranked, shown",
                expected="1 <= shown <= ranked <= each of ks",
                found=f"shown={self.page}, ranked={self.rank}, k={self.prerank}",
            )


@dataclass(frozen=True)
class Judged:
    """The candidates, and the ranker's word on them.

    Attributes:
        index: `[N]` int64, sorted.
        num_requests: R.
        ranker: `[N]`, what the ranker orders by.
        known: `[N]` bool, whether the ranker scored the candidate. It shows no other.
    """

    index: Tensor
    num_requests: int
    ranker: Tensor
    known: Tensor


@dataclass(frozen=True)
class Passed:
    """How far candidates got.

    Attributes:
        preranked: `[N]` bool, whether the pre-ranker passed it on.
        ranked: `[N]` int64, the ranker's place, 0 the best; −1 of candidates that did not pass the ranker.
        page: `[N]` int64, the place on the page; −1 of candidates that are not shown.
    """

    preranked: Tensor
    ranked: Tensor
    page: Tensor

    @property
    def shown(self) -> Tensor:
        """`[N]` bool."""
        return self.page >= 0


def places(score: Tensor, among: Tensor, index: Tensor, num_requests: int) -> Tensor:
    """Ranks some candidates of each request by descending score; ties are broken at random, always in the same way.

    Args:
        score: `[N]`.
        among: `[N]` bool, those that are ranked.
        index: `[N]` int64, sorted.
        num_requests: R.

    Returns:
        `[N]` int64: 0 is the best, −1 of those that are not ranked.
    """
    (rows,) = among.nonzero(as_tuple=True)
    shuffle = torch.randperm(rows.numel(), generator=torch.Generator().manual_seed(_SEED)).to(score.device)
    mixed = rows[shuffle]
    order = mixed[segment_argsort(score[mixed], index[mixed])]
    start = segment_start(index[rows], num_requests)
    found = torch.full_like(index, -1)
    found[order] = torch.arange(rows.numel(), device=score.device) - start[index[rows]]
    return found


def in_order(place: Tensor, judged: Judged) -> Sequence[Tensor]:
    """Returns the rows of each request that have a place, the first place first.

    Args:
        place: `[N]` int64, −1 of rows that have none.
        judged: The candidates.
    """
    (rows,) = (place >= 0).nonzero(as_tuple=True)
    index = judged.index[rows]
    rows = rows[segment_argsort(-place[rows], index)]
    return torch.split(rows, segment_count(index, judged.num_requests).tolist())


def by_rank(page: int) -> Pages:
    """Shows the first `page` in the ranker's order: no re-ranker."""

    def pages(ranked: Tensor) -> Tensor:
        return torch.where(ranked < page, ranked, -1)

    return pages


def run_stages(student: Tensor, judged: Judged, cuts: Cuts, pages: Pages) -> Passed:
    """Sends all candidates through the cascade, with a student as its pre-ranker.

    Args:
        student: What it orders by `[N]`. It ranks all candidates, also those that the ranker has no score of.
        judged: The candidates.
        cuts: How many each stage passes on.
        pages: Fills the pages.
    """
    everyone = torch.ones_like(judged.known)
    return _after(places(student, everyone, judged.index, judged.num_requests) < cuts.prerank, judged, cuts, pages)


def ranker_alone(judged: Judged, cuts: Cuts, pages: Pages) -> Passed:
    """Sends all candidates to the ranker: what the user would get if it were free."""
    return _after(torch.ones_like(judged.known), judged, cuts, pages)


def _after(preranked: Tensor, judged: Judged, cuts: Cuts, pages: Pages) -> Passed:
    place = places(judged.ranker, preranked & judged.known, judged.index, judged.num_requests)
    ranked = torch.where(place < cuts.rank, place, -1)
    return Passed(preranked, ranked, pages(ranked))


def sizes(judged: Judged) -> Tensor:
    """Candidates of each request `[R]` int64."""
    return segment_count(judged.index, judged.num_requests)
