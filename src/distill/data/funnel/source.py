"""`FunnelSource`: a seeded synthetic cascade, streamed to disk."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from distill.checks import require_number
from distill.data.funnel.cascade import Outcome, Requests, StageSizes, run_cascade
from distill.data.funnel.drift import Drift
from distill.data.funnel.state import UserState
from distill.data.funnel.tables import SPLIT, funnel_schema, items_table, requests_table
from distill.data.funnel.world import DEVICES, World, make_world
from distill.data.raw import RawDataset
from distill.data.split import ColumnSplit, SplitRule, TimeSplit
from distill.errors import ConfigError
from distill.schema import Schema

GENERATOR_VERSION = 1
BLOCK_REQUESTS = 1024
_DAY = 86_400
_LOG_START = 1_700_006_400


@dataclass(frozen=True)
class FunnelSource:
    """A synthetic log of a recall → pre-ranking → ranking → exposure cascade with known true utility.

    Users have a latent vector, a taste per category and a budget; items a latent vector, category, brand, price and
    quality. The chance of a click grows with the latent product, the user's and the user group's taste in the
    category, the fit of category and moment (device × time of day), the fit of price and budget, and quality; it
    shrinks with the position on the page. Like and purchase follow a click. Every production stage ranks by a noisy,
    partial view of it, so the log is biased as logs are. Labels are null on candidates that were not exposed, the true
    `utility` is null outside the test split, and `dwell` (privileged) is null on candidates that were not exposed.

    The requests are in time order and split by time. Histories, category counters and click rates hold events of
    earlier blocks of `BLOCK_REQUESTS` requests only; `warmup` requests run before the log starts. Memory is bounded by
    a block and the users' state. The same arguments give the same bytes.

    Attributes:
        requests: Requests that are logged.
        warmup: Unlogged requests before them, which fill histories and counters.
        users: Number of users.
        items: Size of the catalogue.
        categories: Number of categories.
        brands: Number of brands.
        min_candidates: Fewest recalled candidates of a request.
        max_candidates: Most recalled candidates of a request.
        preranked: Candidates that pass the pre-ranker.
        ranked: Candidates that pass the ranker.
        exposed: Candidates that are shown.
        max_history: Liked items that are remembered per user.
        days: Time that the log covers.
        drift: Part of the variance of what users want, and of how good items are, that each day brings anew; 0 keeps
            the world as it is.
        arrivals: Share of the items that arrive while the log is written, one by one.
        only_days: First and last day that is written, from 0; all if not given. The days before are gone through, so
            that a day holds the same rows whatever else is written.
        cold: Fields of the item that say what stands for an unknown one (`cold` of the schema); none by default.
        min_count: Rarer items have no id of their own.
        val: Share of the requests in the val split, before the test split.
        test: Share of the requests in the test split, the last ones.
        seed: Of everything.
    """

    requests: int = 20_000
    warmup: int = 4_000
    users: int = 1_000
    items: int = 2_000
    categories: int = 20
    brands: int = 200
    min_candidates: int = 60
    max_candidates: int = 100
    preranked: int = 40
    ranked: int = 20
    exposed: int = 10
    max_history: int = 30
    days: int = 14
    drift: float = 0.0
    arrivals: float = 0.0
    only_days: tuple[int, int] | None = None
    cold: tuple[str, ...] = ()
    min_count: int = 1
    val: float = 0.1
    test: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        sizes = (self.exposed, self.ranked, self.preranked, self.min_candidates, self.max_candidates, self.items)
        if sizes[0] < 1 or any(a > b for a, b in itertools.pairwise(sizes)):
            raise ConfigError(
                "Each stage of the cascade must pass on at most what it receives.",
                where="data.adapter",
                expected="1 <= exposed <= ranked <= preranked <= min_candidates <= max_candidates <= items",
                found=" ".join(str(size) for size in sizes),
            )
        counts = {name: getattr(self, name) for name in ("users", "categories", "brands", "max_history", "days")}
        wrong = [f"{name}={count}" for name, count in counts.items() if count < 1]
        if wrong or self.warmup < 0:
            raise ConfigError(
                "Sizes must be positive.",
                where="data.adapter",
                expected="at least 1 (warmup: at least 0)",
                found=", ".join(wrong) or f"warmup={self.warmup}",
            )
        for name in ("drift", "arrivals"):
            require_number(f"data.adapter.{name}", getattr(self, name), 0, 0.99)
        if self.items - round(self.arrivals * self.items) < self.max_candidates:
            raise ConfigError(
                "On the first day there must be enough items for a request.",
                where="data.adapter.arrivals",
                expected=f"items × (1 − arrivals) of at least max_candidates={self.max_candidates}",
                found=f"items={self.items}, arrivals={self.arrivals}",
            )
        if self.only_days is not None:
            first, last = self.only_days
            if not 0 <= first <= last < self.days:
                raise ConfigError(
                    "The log has no such days.",
                    where="data.adapter.only_days",
                    expected=f"[first, last] with 0 <= first <= last < days={self.days}",
                    found=str(list(self.only_days)),
                )
        num_val, num_test = round(self.requests * self.val), round(self.requests * self.test)
        if min(num_val, num_test, self.requests - num_val - num_test) < 1:
            raise ConfigError(
                "Every split needs at least one request.",
                where="data.adapter",
                expected="requests × val, requests × test and the rest to be at least 1",
                found=f"requests={self.requests}, val={self.val}, test={self.test}",
            )

    @property
    def name(self) -> str:
        """`funnel`."""
        return "funnel"

    def fingerprint(self) -> str:
        """Hash of the arguments and of the version of the generator."""
        content = asdict(self)
        still = {
            "drift": 0.0,
            "arrivals": 0.0,
            "only_days": None,
            "cold": (),
            "min_count": 1,
        }  # which older versions did not have
        content["cold"] = tuple(self.cold)
        content = {name: value for name, value in content.items() if name not in still or value != still[name]}
        text = json.dumps([GENERATOR_VERSION, BLOCK_REQUESTS, content], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def write_raw(self, directory: Path) -> RawDataset:
        """Writes `requests.parquet` and `items.parquet`."""
        directory.mkdir(parents=True, exist_ok=True)
        world = self.world()
        items = directory / "items.parquet"
        pq.write_table(items_table(world), items)
        requests = directory / "requests.parquet"
        tables = self.tables(world)
        first = next(tables)
        with pq.ParquetWriter(requests, first.schema, compression="zstd") as writer:
            writer.write_table(first)
            for table in tables:
                writer.write_table(table)
        rule: SplitRule = ColumnSplit(SPLIT) if self.only_days is None else TimeSplit(self.val, self.test)
        return RawDataset((requests,), self.raw_schema(), rule, items)

    def raw_schema(self) -> Schema:
        """What the log holds."""
        return funnel_schema(self.name, self.max_history, self.cold, self.min_count)

    def world(self) -> World:
        """Draws the catalogue and the users."""
        return make_world(
            self.seed,
            num_users=self.users,
            num_items=self.items,
            num_categories=self.categories,
            num_brands=self.brands,
        )

    @property
    def sizes(self) -> StageSizes:
        """How many candidates get how far."""
        return StageSizes((self.min_candidates, self.max_candidates), self.preranked, self.ranked, self.exposed)

    def tables(self, world: World) -> Iterator[pa.Table]:
        """Yields the log in time order, a block of requests at a time."""
        state = UserState(self.users, self.categories, self.max_history)
        starts = [*range(-self.warmup, 0, BLOCK_REQUESTS), *range(0, self.requests, BLOCK_REQUESTS)]
        change, day = Drift(self.drift, self.arrivals, self.days, self.seed), 0
        for block, start in enumerate(starts):
            end = min(start + BLOCK_REQUESTS, 0 if start < 0 else self.requests)
            rng = np.random.default_rng((self.seed, 1 + block))
            while day < start * self.days // self.requests:
                day += 1
                world = change.next_day(world, day)
            today = change.present(world, start / self.requests)
            requests = self.draw_requests(today, np.arange(start, end), rng)
            outcome = run_cascade(today, requests, self.sizes, rng)
            if start >= 0:
                split = self._split(np.arange(start, end))
                dwell = dwell_of(outcome, rng)
                table = requests_table(today, state, requests, outcome, first_request=start, split=split, dwell=dwell)
                table = table if self.only_days is None else self._of_days(table, *self.only_days)
                if len(table) or self.only_days is None:
                    yield table
            learn(state, today, requests, outcome)

    def _of_days(self, table: pa.Table, first: int, last: int) -> pa.Table:
        """The rows of some days."""
        day = (table["time"].to_numpy() - _LOG_START) // _DAY
        return table.filter(pa.array((day >= first) & (day <= last)))

    def draw_requests(self, world: World, index: NDArray[np.int64], rng: np.random.Generator) -> Requests:
        """Draws who comes and when; the times of consecutive requests never go back."""
        span = self.days * _DAY
        time = _LOG_START + ((index + rng.random(index.size)) * span / self.requests).astype(np.int64)
        user = rng.choice(self.users, size=index.size, p=world.users.activity)
        other = rng.integers(len(DEVICES), size=index.size)
        device = np.where(rng.random(index.size) < 0.7, world.users.device[user], other)
        return Requests(user=user, device=device, time=time, hour=time // 3600 % 24)

    def _split(self, index: NDArray[np.int64]) -> NDArray[np.str_]:
        first_test = self.requests - round(self.requests * self.test)
        first_val = first_test - round(self.requests * self.val)
        return np.where(index >= first_test, "test", np.where(index >= first_val, "val", "train"))


def dwell_of(outcome: Outcome, rng: np.random.Generator) -> NDArray[np.float32]:
    """Average seconds that the user stays on items like this one later in the session; grows with the interest.

    It is drawn apart from the click, so it tells about interest without giving the label away.
    """
    noise = rng.standard_normal(outcome.item.shape, dtype=np.float32)
    seconds = np.exp(2.5 + 0.5 * outcome.behaviour.interest + 0.5 * noise)
    return np.asarray(np.round(seconds, 1), dtype=np.float32)


def learn(state: UserState, world: World, requests: Requests, outcome: Outcome) -> None:
    """Adds what was shown to what the platform knows of its users."""
    row, place = np.nonzero(outcome.position >= 0)
    item = outcome.item[row, place]
    state.update(
        requests.user[row],
        item,
        world.items.category[item],
        outcome.click[row, place],
        outcome.like[row, place],
    )
