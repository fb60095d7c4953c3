"""A world that changes from day to day: what users want and how good items are wanders, and items arrive."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from distill.data.funnel.world import Catalogue, Floats, World

_KEY = 1 << 20  # of the random numbers of a day, apart from those of the blocks


@dataclass(frozen=True)
class Drift:
    """How a world changes.

    Attributes:
        rate: Of what users want and how good items are, the part of the variance that each day brings anew: x becomes
            √(1 − rate)·x + √rate·noise, so that the whole variance stays.
        arrivals: Share of the items that are not there on the first day; they arrive one by one, evenly over the log,
            those with the highest numbers last.
        days: That the log covers.
        seed: Of the changes.
    """

    rate: float
    arrivals: float
    days: int
    seed: int

    def next_day(self, world: World, day: int) -> World:
        """Returns the world of a day (1 is the second one) from that of the day before."""
        if self.rate == 0.0:
            return world
        rng = np.random.default_rng((self.seed, _KEY + day))

        def wandered(values: Floats) -> Floats:
            noise = rng.standard_normal(values.shape, dtype=np.float32) * values.std()
            kept = np.float32((1.0 - self.rate) ** 0.5)
            return np.asarray(kept * values + np.float32(self.rate**0.5) * noise, dtype=np.float32)

        users, items = world.users, world.items
        return replace(
            world,
            users=replace(users, latent=wandered(users.latent), taste=wandered(users.taste)),
            items=replace(items, quality=wandered(items.quality)),
            period_taste=wandered(world.period_taste),
        )

    def present(self, world: World, share: float) -> World:
        """Returns the world with the items that have arrived.

        Args:
            world: With all items.
            share: Of the log that has passed; the time before it has the items of its start.
        """
        total = world.items.category.size
        first = total - round(self.arrivals * total)
        here = min(total, first + int(max(share, 0.0) * (total - first)))
        return world if here == total else replace(world, items=_first(world.items, here))


def _first(items: Catalogue, count: int) -> Catalogue:
    """The catalogue of the first items alone."""
    category, shares = items.category[:count], items.popularity[:count]
    by_category = np.argsort(category, kind="stable")
    num_categories = items.category_start.size - 1
    return Catalogue(
        category=category,
        brand=items.brand[:count],
        price=items.price[:count],
        age_days=items.age_days[:count],
        popularity=shares / shares.sum(),
        quality=items.quality[:count],
        ctr=items.ctr[:count],
        latent=items.latent[:count],
        by_category=by_category,
        category_start=np.searchsorted(category[by_category], np.arange(num_categories + 1)),
    )
