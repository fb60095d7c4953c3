"""The production cascade that made the log: recall, pre-ranking, ranking and exposure, each with blind spots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill.data.funnel.behaviour import Behaviour, behave
from distill.data.funnel.world import LATENT_WIDTH, Floats, Ints, World

_KNOWN_LATENT = LATENT_WIDTH // 2

Bools = NDArray[np.bool_]
PreRank = Callable[[Ints, Bools], Floats]
"""From the items of the candidates and whether they are valid to what they are ordered by, each `[R, N]`."""


@dataclass(frozen=True)
class StageSizes:
    """Candidates of a request that get as far as each stage.

    Attributes:
        recalled: Smallest and largest number of candidates.
        preranked: That pass the pre-ranker.
        ranked: That pass the ranker.
        exposed: That are shown.
    """

    recalled: tuple[int, int]
    preranked: int
    ranked: int
    exposed: int


@dataclass(frozen=True)
class Exploration:
    """Places that chance fills, from what the stage received and would have cut.

    Attributes:
        preranked: Of those that the pre-ranker passes on.
        exposed: Of those on the page, the last ones.
    """

    preranked: int = 0
    exposed: int = 0


@dataclass(frozen=True)
class Requests:
    """R requests in time order: user, device, time in seconds and hour of the day, all `[R]`."""

    user: Ints
    device: Ints
    time: Ints
    hour: Ints


@dataclass(frozen=True)
class Outcome:
    """What happened to the candidates of R requests `[R, N]`; rows beyond the request's candidates are not `valid`.

    Attributes:
        item: Item index.
        valid: Whether the place holds a candidate.
        stage: Values of `Stage`: 0 cut by the pre-ranker, 1 by the ranker, 2 left off the page, 3 shown.
        position: Place on the page, -1 where not exposed.
        click: 0 or 1; 0 where not exposed.
        like: 0 or 1.
        purchase: 0 or 1.
        behaviour: The truth behind it.
        ranker: Logit of a click by the ranker, a noisy view of the truth; also of candidates that it did not get.
    """

    item: Ints
    valid: NDArray[np.bool_]
    stage: Ints
    position: Ints
    click: Ints
    like: Ints
    purchase: Ints
    behaviour: Behaviour
    ranker: Floats


def run_cascade(
    world: World,
    requests: Requests,
    sizes: StageSizes,
    rng: np.random.Generator,
    prerank: PreRank | None = None,
    explored: Exploration | None = None,
) -> Outcome:
    """Sends requests through all stages and draws what the users do with what they see.

    Args:
        world: The world.
        requests: R requests.
        sizes: How many candidates get how far.
        rng: Of all draws; the same requests meet the same candidates and the same noise, whatever the pre-ranker.
        prerank: The pre-ranker; that of production if none is given.
        explored: Places that chance fills; none if not given.
    """
    slots = Exploration() if explored is None else explored
    item = _recall(world, requests.user, sizes.recalled[1], rng)
    num_candidates: Ints = rng.integers(sizes.recalled[0], sizes.recalled[1] + 1, size=len(item))
    valid = np.arange(item.shape[1]) < num_candidates[:, None]
    truth = behave(world, requests.user, requests.device, requests.hour, item)
    noise = rng.standard_normal((3, *item.shape), dtype=np.float32)
    own = _prerank_score(world, requests.user, item) + 0.5 * noise[0]
    coarse = own if prerank is None else prerank(item, valid)
    chance = rng.spawn(2)  # which leaves the draws of rng as they are
    preranked = valid & (_places(coarse, valid, sizes.preranked, slots.preranked, chance[0]) < sizes.preranked)
    fine = truth.utility + 0.5 * noise[1]
    ranked = preranked & (_rank(np.where(preranked, fine, -np.inf)) < sizes.ranked)
    page = _places(fine + 0.5 * noise[2], ranked, sizes.exposed, slots.exposed, chance[1])
    exposed = ranked & (page < sizes.exposed)
    stage = np.asarray(preranked.astype(np.int64) + ranked + exposed, dtype=np.int64)
    examined = rng.random(item.shape, dtype=np.float32) < 1.0 / (1.0 + 0.05 * page)
    draws = rng.random((3, *item.shape), dtype=np.float32)
    click = exposed & examined & (draws[0] < truth.click)
    return Outcome(
        item=item,
        valid=valid,
        stage=stage,
        position=np.where(exposed, page, -1),
        click=click.astype(np.int64),
        like=(click & (draws[1] < truth.like)).astype(np.int64),
        purchase=(click & (draws[2] < truth.purchase)).astype(np.int64),
        behaviour=truth,
        ranker=np.asarray(np.log(truth.click) - np.log1p(-truth.click) + 0.5 * noise[1], dtype=np.float32),
    )


def _places(score: Floats, among: Bools, count: int, slots: int, rng: np.random.Generator) -> Ints:
    """Ranks candidates by score, the last `slots` of the first `count` places by chance among the others `[R, N]`."""
    place = _rank(np.where(among, score, -np.inf))
    if slots == 0:
        return place
    first = place < count - slots
    chance = rng.random(score.shape, dtype=np.float32)
    drawn = _rank(np.where(among & ~first, chance, -np.inf))
    order = np.where(first, 2.0 * place.size - place, np.where(drawn < slots, place.size - drawn, -place))
    return _rank(np.where(among, order, -np.inf).astype(np.float64))


def _recall(world: World, user: Ints, count: int, rng: np.random.Generator) -> Ints:
    """Merges three channels (popular, of the user's categories, explored) into `count` distinct items `[R, count]`."""
    pool = np.concatenate(
        [
            _popular(world, user.size, count, rng),
            _of_favourite_categories(world, user, count, rng),
            _explored(world.items.category.size, user.size, count, rng),
        ],
        axis=1,
    )
    pool.sort(axis=1)
    repeated = np.zeros(pool.shape, dtype=bool)
    repeated[:, 1:] = pool[:, 1:] == pool[:, :-1]
    popularity = np.log(world.items.popularity * world.items.popularity.size)[pool]
    taste = np.take_along_axis(world.users.taste[user], world.items.category[pool], axis=1)
    score = 0.3 * popularity + 0.3 * taste + rng.gumbel(size=pool.shape)
    best = np.argsort(np.where(repeated, np.inf, -score), axis=1, kind="stable")[:, :count]
    return np.take_along_axis(pool, best, axis=1)


def _popular(world: World, num_requests: int, draws: int, rng: np.random.Generator) -> Ints:
    share = np.cumsum(world.items.popularity)
    found: Ints = np.searchsorted(share, rng.random((num_requests, draws)) * share[-1], side="right")
    return np.minimum(found, share.size - 1)


def _of_favourite_categories(world: World, user: Ints, draws: int, rng: np.random.Generator) -> Ints:
    """Draws items of categories that a noisy view of the user's taste prefers."""
    taste = world.users.taste[user]
    noisy = taste + rng.standard_normal(taste.shape, dtype=np.float32)
    share = np.cumsum(np.exp(1.5 * noisy), axis=1, dtype=np.float64)
    row = np.arange(user.size)[:, None]
    ladder = (row + share / share[:, -1:]).ravel()
    category: Ints = np.searchsorted(ladder, row + rng.random((user.size, draws))) - row * taste.shape[1]
    category = np.clip(category, 0, taste.shape[1] - 1)
    start, end = world.items.category_start[category], world.items.category_start[category + 1]
    place = start + (rng.random(category.shape) * (end - start)).astype(np.int64)
    found: Ints = world.items.by_category[np.minimum(place, world.items.by_category.size - 1)]
    return found


def _explored(num_items: int, num_requests: int, draws: int, rng: np.random.Generator) -> Ints:
    """Walks through the catalogue from a random item: distinct items, so that a request always has enough."""
    step = max(num_items // draws, 1)
    return (rng.integers(num_items, size=(num_requests, 1)) + step * np.arange(draws)) % num_items


def _prerank_score(world: World, user: Ints, item: Ints) -> Floats:
    """Knows half of the latent dimensions, the taste in categories and the logged click rate."""
    users, items = world.users, world.items
    latent = np.einsum("rd,rnd->rn", users.latent[user][:, :_KNOWN_LATENT], items.latent[item][..., :_KNOWN_LATENT])
    taste = np.take_along_axis(users.taste[user], items.category[item], axis=1)
    score = 0.5 * latent / np.float32(LATENT_WIDTH**0.5) + 0.5 * taste + np.log(items.ctr[item])
    return np.asarray(score, dtype=np.float32)


def _rank(score: Floats) -> Ints:
    """Ranks each row by descending score `[R, N]`; 0 is the best."""
    order = np.argsort(-score, axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(score.shape[1])[None, :], axis=1)
    return rank
