"""What a user truly does with an item: the utility and the probabilities of click, like and purchase."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from distill.data.funnel.world import LATENT_WIDTH, Floats, Ints, World

SCORE_POWERS = {"click": 1.0, "like": 0.2, "purchase": 0.2}
_BIAS = -4.5
_LATENT = 0.5
_TASTE = 0.6
_GROUP = 0.8
_MOMENT = 0.8
_FIT = 0.8
_QUALITY = 0.3


@dataclass(frozen=True)
class Behaviour:
    """Of every (request, candidate) pair `[R, N]`.

    Attributes:
        interest: Standing liking of the user for the item, from ids, category and user group.
        click: P(click | examined).
        like: P(like | click).
        purchase: P(purchase | click).
    """

    interest: Floats
    click: Floats
    like: Floats
    purchase: Floats

    @property
    def utility(self) -> Floats:
        """Log of the ranking score under the true probabilities, Σ_k a_k log p_k; like and purchase need a click."""
        total = sum(SCORE_POWERS.values())
        later = SCORE_POWERS["like"] * np.log(self.like) + SCORE_POWERS["purchase"] * np.log(self.purchase)
        return np.asarray(total * np.log(self.click) + later, dtype=np.float32)


def period_of(hour: Ints) -> Ints:
    """Returns the time of day (six periods of four hours) of an hour."""
    return hour // 4


def behave(world: World, user: Ints, device: Ints, hour: Ints, item: Ints) -> Behaviour:
    """Computes the true probabilities of every pair.

    Args:
        world: The world.
        user: `[R]`.
        device: `[R]`.
        hour: `[R]`.
        item: `[R, N]`.
    """
    users, items = world.users, world.items
    category = items.category[item]
    taste = np.take_along_axis(users.taste[user], category, axis=1)
    group = np.take_along_axis(world.group_taste[users.age[user], users.gender[user]], category, axis=1)
    moment = np.take_along_axis(world.period_taste[device, period_of(hour)], category, axis=1)
    latent = np.einsum("rd,rnd->rn", users.latent[user], items.latent[item]) / np.float32(LATENT_WIDTH**0.5)
    gap = np.log(items.price[item] / users.budget[user][:, None])
    fit = 1.0 - np.minimum(gap * gap, 4.0)
    quality = items.quality[item]
    interest = _LATENT * latent + _TASTE * taste + _GROUP * group
    click = _BIAS + interest + _MOMENT * moment + _FIT * fit + _QUALITY * quality
    like = -1.0 + 0.7 * interest + 0.5 * quality
    purchase = -1.8 + 0.8 * fit + 0.3 * interest + 0.3 * quality
    return Behaviour(interest.astype(np.float32), _sigmoid(click), _sigmoid(like), _sigmoid(purchase))


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-x)), dtype=np.float32)
