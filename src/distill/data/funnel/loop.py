"""A cascade that learns from its own log: rounds in which a pre-ranker decides what the ranker sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distill.data.funnel.cascade import Exploration, Outcome, Requests, run_cascade
from distill.data.funnel.drift import Drift
from distill.data.funnel.source import BLOCK_REQUESTS, FunnelSource, dwell_of, learn
from distill.data.funnel.state import UserState
from distill.data.funnel.tables import known_columns, requests_table
from distill.data.funnel.world import Floats, Ints, World
from distill.schema import Schema
from distill.schema.schema import TeacherColumns

RANKER = "ranker_click"
"""Raw column with the ranker's logit of a click."""
Scored = Literal["passed", "all"]
"""Which candidates the ranker's scores are logged of: those that reached it, or all (scored again offline)."""
Policy = Callable[[dict[str, pa.Array], dict[str, pa.Array], Ints], Floats]
"""From raw columns of requests `[R]` and of candidates `[N]`, and how many each request has `[R]`, to scores `[N]`."""

_PRIOR_VIEWS = 20.0


@dataclass(frozen=True)
class Round:
    """What happened in a round.

    Attributes:
        table: The log, one row per request, without what only the world knows.
        exposures: Of each item `[I]`.
        candidates: How often each was a candidate `[I]`.
        arrived: Items that were there at the end of the round; those with higher numbers arrive later.
        chance: Mean true probability of a click on what was shown, if it is looked at.
    """

    table: pa.Table
    exposures: Ints
    candidates: Ints
    arrived: int
    chance: float


class FunnelLoop:
    """Runs a world round by round. After each, what the platform knows of items follows from what it showed.

    A round is a day of the source. The popularity by which items are recalled becomes their share of the clicks, and
    the logged click rate that is a feature becomes clicks per exposure, both shrunk towards what they were at first by
    20 views. So what is not shown is recalled less and stays unknown: the loop that the Matthew effect needs.

    The ranker's view of the truth stays what it is: it does not learn from the log. What changes from round to round is
    the work of the pre-ranker alone.

    Args:
        source: The world; its requests are those of all rounds, its days the rounds.
        explored: Places that chance fills.
        scored: Of which candidates the ranker's scores are logged.
    """

    def __init__(self, source: FunnelSource, explored: Exploration, scored: Scored) -> None:
        self.source, self.explored, self.scored = source, explored, scored
        self._world = source.world()
        self._state = UserState(source.users, source.categories, source.max_history)
        self._change = Drift(source.drift, source.arrivals, source.days, source.seed)
        self._first = self._world.items
        self._views, self._clicks = np.zeros(source.items), np.zeros(source.items)
        self._number = 0

    def schema(self) -> Schema:
        """What the log holds: that of the source, without the true utility, with the ranker's scores."""
        own = self.source.raw_schema()
        teacher = TeacherColumns(columns={"click": RANKER}, kind="logit")
        return own.model_copy(update={"teacher": teacher, "evaluation": ()})

    def next_round(self, policy: Policy | None = None, sees_all: bool = False) -> Round:
        """Runs the requests of a round.

        Args:
            policy: The pre-ranker; that of production if none is given.
            sees_all: Whether the ranker gets every candidate, so that no pre-ranker matters.
        """
        source, number = self.source, self._number
        self._number += 1
        if number:
            self._world = self._change.next_day(self._world, number)
        per_round = source.requests // source.days
        begin = number * per_round
        blocks = [
            self._block(start, min(start + BLOCK_REQUESTS, begin + per_round), policy, sees_all)
            for start in range(begin, begin + per_round, BLOCK_REQUESTS)
        ]
        tables, shown, seen, chances, present = zip(*blocks, strict=True)
        exposures, candidates = np.sum(shown, axis=0), np.sum(seen, axis=0)
        self._follow()
        chance = float(np.concatenate(chances).mean())
        return Round(pa.concat_tables(tables), exposures, candidates, present[-1], chance)

    def _block(
        self, start: int, end: int, policy: Policy | None, sees_all: bool
    ) -> tuple[pa.Table, Ints, Ints, Floats, int]:
        source, state = self.source, self._state
        rng = np.random.default_rng((source.seed, 1 + start))
        today = self._change.present(self._world, start / source.requests)
        requests = source.draw_requests(today, np.arange(start, end), rng)

        def prerank(item: Ints, valid: NDArray[np.bool_]) -> Floats:
            assert policy is not None
            score = np.full(item.shape, -np.inf, np.float32)
            score[valid] = policy(*known_columns(today, state, requests, item, valid), valid.sum(axis=1))
            return score

        hook = None if policy is None else prerank
        sizes = source.sizes
        sizes = replace(sizes, preranked=sizes.recalled[1]) if sees_all else sizes
        outcome = run_cascade(today, requests, sizes, rng, hook, self.explored)
        table = self._table(today, requests, outcome, start, rng)
        shown, seen = outcome.item[outcome.stage == 3], outcome.item[outcome.valid]
        learn(state, today, requests, outcome)
        self._views += np.bincount(shown, minlength=source.items)
        self._clicks += np.bincount(outcome.item[outcome.click == 1], minlength=source.items)
        return (
            table,
            np.bincount(shown, minlength=source.items),
            np.bincount(seen, minlength=source.items),
            outcome.behaviour.click[outcome.stage == 3],
            today.items.category.size,
        )

    def _table(
        self, world: World, requests: Requests, outcome: Outcome, start: int, rng: np.random.Generator
    ) -> pa.Table:
        split = np.full(requests.user.size, "train")
        table = requests_table(
            world, self._state, requests, outcome, first_request=start, split=split, dwell=dwell_of(outcome, rng)
        )
        kept = outcome.valid if self.scored == "all" else outcome.valid & (outcome.stage > 0)
        logit = pa.array(outcome.ranker[outcome.valid], mask=~kept[outcome.valid])
        offsets = table["item_id"].combine_chunks().offsets
        table = table.append_column(RANKER, pa.ListArray.from_arrays(offsets, logit))
        return table.drop_columns(["utility", "split"])

    def _follow(self) -> None:
        """What the platform knows of items becomes what it logged."""
        first, weight = self._first, _PRIOR_VIEWS / (_PRIOR_VIEWS + self._views)
        rate = weight * first.ctr + (1 - weight) * self._clicks / np.maximum(self._views, 1)
        clicks = self._clicks + _PRIOR_VIEWS * first.popularity * first.popularity.size * float(first.ctr.mean())
        items = replace(self._world.items, ctr=rate.astype(np.float32), popularity=clicks / clicks.sum())
        self._world = replace(self._world, items=items)
