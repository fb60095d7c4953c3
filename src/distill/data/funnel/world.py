"""The catalogue and the users of the synthetic cascade: who they are and what they truly want."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

AGES = ("<18", "18-24", "25-34", "35-44", "45-54", "55+")
GENDERS = ("female", "male", "unknown")
DEVICES = ("android", "ios", "desktop")
NUM_CITIES = 20
NUM_PERIODS = 6
LATENT_WIDTH = 8
_ZIPF_EXPONENT = 0.8
_FAVOURITES = 3
_FAVOURITE_TASTE = 2.0
_LATENT_TASTE = 0.5
_OWN_TASTE = 0.8


@dataclass(frozen=True)
class Catalogue:
    """I items.

    Attributes:
        category: `[I]`.
        brand: `[I]`.
        price: `[I]`.
        age_days: `[I]` at the start of the log.
        popularity: `[I]` Zipf shares that sum to 1.
        quality: `[I]` true appeal to everybody, standard normal.
        ctr: `[I]` logged click rate: a noisy view of `quality`.
        latent: `[I, D]` scattered around the centre of the category.
        by_category: Items ordered by category `[I]`.
        category_start: First place of each category in `by_category` `[C + 1]`.
    """

    category: Ints
    brand: Ints
    price: Floats
    age_days: Floats
    popularity: NDArray[np.float64]
    quality: Floats
    ctr: Floats
    latent: Floats
    by_category: Ints
    category_start: Ints


@dataclass(frozen=True)
class Users:
    """U users.

    Attributes:
        age: `[U]` index into `AGES`.
        gender: `[U]` index into `GENDERS`.
        city: `[U]`.
        device: `[U]` index into `DEVICES`; the one used most.
        budget: `[U]` the price that suits best.
        activity: `[U]` shares of the requests, sum to 1.
        latent: `[U, D]`.
        taste: `[U, C]` liking of each category, with a few favourites.
    """

    age: Ints
    gender: Ints
    city: Ints
    device: Ints
    budget: Floats
    activity: NDArray[np.float64]
    latent: Floats
    taste: Floats


@dataclass(frozen=True)
class World:
    """All that stays fixed while requests come in.

    Attributes:
        items: The catalogue.
        users: The users.
        group_taste: `[ages, genders, C]` liking of each category by user group.
        period_taste: `[devices, periods, C]` liking of each category by device and time of day.
    """

    items: Catalogue
    users: Users
    group_taste: Floats
    period_taste: Floats


def make_world(seed: int, *, num_users: int, num_items: int, num_categories: int, num_brands: int) -> World:
    """Draws a world; the same arguments give the same world."""
    rng = np.random.default_rng((seed, 0))
    centres = _normal(rng, num_categories, LATENT_WIDTH)
    items = _make_items(rng, centres, num_items, num_brands)
    users = _make_users(rng, centres, num_users)
    return World(
        items=items,
        users=users,
        group_taste=_normal(rng, len(AGES), len(GENDERS), num_categories),
        period_taste=_normal(rng, len(DEVICES), NUM_PERIODS, num_categories),
    )


def _make_items(rng: np.random.Generator, centres: Floats, num_items: int, num_brands: int) -> Catalogue:
    num_categories = centres.shape[0]
    category = rng.integers(num_categories, size=num_items)
    brand = rng.integers(num_brands, size=num_items)
    quality = _normal(rng, num_items)
    level = _normal(rng, num_categories)
    price = np.exp(3.0 + 0.5 * level[category] + 0.7 * _normal(rng, num_items))
    attraction = quality + 2.0 * _normal(rng, num_items)
    shares = (1.0 + np.argsort(np.argsort(-attraction))) ** -_ZIPF_EXPONENT
    latent = 0.6 * centres[category] + 0.3 * _normal(rng, num_brands, LATENT_WIDTH)[brand]
    by_category = np.argsort(category, kind="stable")
    return Catalogue(
        category=category,
        brand=brand,
        price=np.round(price, 2).astype(np.float32),
        age_days=rng.exponential(60.0, num_items).astype(np.float32),
        popularity=shares / shares.sum(),
        quality=quality,
        ctr=(1.0 / (1.0 + np.exp(2.5 - 0.5 * (quality + 0.7 * _normal(rng, num_items))))).astype(np.float32),
        latent=(latent + 0.75 * _normal(rng, num_items, LATENT_WIDTH)).astype(np.float32),
        by_category=by_category,
        category_start=np.searchsorted(category[by_category], np.arange(num_categories + 1)),
    )


def _make_users(rng: np.random.Generator, centres: Floats, num_users: int) -> Users:
    num_categories = centres.shape[0]
    latent = _normal(rng, num_users, LATENT_WIDTH)
    activity = rng.gamma(1.5, size=num_users) + 0.1
    taste = _OWN_TASTE * _normal(rng, num_users, num_categories)
    taste += np.float32(_LATENT_TASTE / LATENT_WIDTH**0.5) * (latent @ centres.T)
    favourites = rng.random((num_users, num_categories)).argsort(axis=1)[:, :_FAVOURITES]
    np.put_along_axis(taste, favourites, np.take_along_axis(taste, favourites, 1) + np.float32(_FAVOURITE_TASTE), 1)
    return Users(
        age=rng.integers(len(AGES), size=num_users),
        gender=rng.choice(len(GENDERS), size=num_users, p=(0.45, 0.45, 0.1)),
        city=rng.integers(NUM_CITIES, size=num_users),
        device=rng.choice(len(DEVICES), size=num_users, p=(0.5, 0.3, 0.2)),
        budget=np.round(np.exp(3.0 + 0.8 * _normal(rng, num_users)), 2).astype(np.float32),
        activity=activity / activity.sum(),
        latent=latent,
        taste=taste,
    )


def _normal(rng: np.random.Generator, *shape: int) -> Floats:
    return rng.standard_normal(shape, dtype=np.float32)
