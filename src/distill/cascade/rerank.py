"""Pages that a re-ranker fills from what the ranker passed on, as a bundle does."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from distill.cascade.stages import Judged, in_order
from distill.encodings.arrow import Int64
from distill.serving import Rerank
from distill.serving.diversity import Limit
from distill.serving.diversity.select import choose, criterion_of


@dataclass(frozen=True)
class ItemView:
    """What a re-ranker knows of items.

    Attributes:
        place: Of the item of each candidate in the tables `[N]` int64.
        vectors: `[I, D]`; None where none are compared.
        codes: Name of a quota's column to the category of each item `[I]` int64, −1 of none.
    """

    place: Tensor
    vectors: Tensor | None
    codes: Mapping[str, Tensor]


@dataclass
class RerankedPages:
    """Fills the pages, request by request; see `Pages`.

    Attributes:
        rerank: How.
        page: n.
        judged: The candidates; relevance is the ranker's score, standardised over those that it passed on.
        items: What is known of them.
        seconds: That the re-ranking took, of one thread.
        requests: That it was asked for.
    """

    rerank: Rerank
    page: int
    judged: Judged
    items: ItemView
    seconds: float = field(default=0.0, init=False)
    requests: int = field(default=0, init=False)

    def __call__(self, ranked: Tensor) -> Tensor:
        """Returns the place on the page of each candidate, from the ranker's place."""
        found = torch.full_like(ranked, -1)
        for own in in_order(ranked, self.judged):
            if own.numel():
                chosen = own[torch.from_numpy(self._chosen(own))]
                found[chosen] = torch.arange(chosen.numel())
        return found

    def _chosen(self, rows: Tensor) -> Int64:
        relevance = self.judged.ranker[rows].numpy()
        places = self.items.place[rows]
        vectors = None if self.items.vectors is None else self.items.vectors[places].numpy()
        limits = [
            Limit(self.items.codes[quota.column][places].numpy(), quota.most, quota.window)
            for quota in self.rerank.quotas
        ]
        start = time.thread_time()
        way = self.rerank
        criterion = criterion_of(way.type, relevance, vectors, self.page, way.trade_off, way.window)
        found = choose(criterion, relevance, self.page, limits)
        self.seconds += time.thread_time() - start
        self.requests += 1
        return found
