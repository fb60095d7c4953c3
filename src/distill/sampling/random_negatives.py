"""Negatives from the whole catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from distill.batch import Batch, Origin
from distill.data.catalogue import Catalogue
from distill.errors import ConfigError
from distill.losses.setting import LossSetting
from distill.sampling.added import AddedNegatives, Pool

Distribution = Literal["uniform", "frequency", "stratified"]
POPULARITY = "popularity"


class RandomNegatives(AddedNegatives):
    """Adds random items of the catalogue to each request.

    `uniform` draws every item alike; `frequency` with a probability proportional to (1 + exposures in the training
    split)^α; `stratified` draws a stratum, each alike, and an item of it: strata are head, torso and tail (as of the
    metric `PopularityBands`) with `strata=popularity`, or the values of a candidate-side id field such as a category.

    Args:
        tasks: Names of the tasks that get labels; all of the schema's if None.
        weight: Weight of the new rows.
        per_request: Draws of a request.
        distribution: Which items are likely.
        alpha: α ≥ 0 of `frequency`.
        strata: Of `stratified`: `popularity` or the name of a field.
        seed: Of the draw.
        taught: Whether a teacher that runs in the step scores the new rows.

    Raises:
        ConfigError: The distribution is unknown or α negative.

    Reference: Mikolov et al., "Distributed Representations of Words and Phrases", 2013, arXiv:1310.4546 (α = ¾).
    """

    origin = Origin.RANDOM_NEGATIVE

    def __init__(
        self,
        tasks: Sequence[str] | None = None,
        weight: float = 1.0,
        per_request: int = 5,
        distribution: Distribution = "uniform",
        alpha: float = 0.75,
        strata: str = POPULARITY,
        seed: int = 0,
        taught: bool = False,
    ) -> None:
        super().__init__(tasks, weight, per_request, seed, taught)
        if distribution not in get_args(Distribution) or alpha < 0:
            raise ConfigError(
                "The options of the random negatives are wrong.",
                where="RandomNegatives",
                expected=f"distribution: {', '.join(get_args(Distribution))}; alpha ≥ 0",
                found=f"distribution={distribution}, alpha={alpha}",
            )
        self.distribution, self.alpha, self.strata = distribution, float(alpha), strata
        self._pool: Pool | None = None

    def setup(self, setting: LossSetting) -> None:
        """Computes the probability of every item; see `Sampler.setup`.

        Raises:
            ConfigError: Also if the strata name no field of the catalogue.
        """
        super().setup(setting)
        catalogue = setting.catalogue()
        self._pool = Pool.of(catalogue.item_id, self._mass(catalogue), catalogue.fields.measured())

    def pool(self, batch: Batch) -> Pool:
        """Returns the catalogue; see `AddedNegatives.pool`."""
        if self._pool is None:
            raise ConfigError("The random negatives have no catalogue.", remedy="Call `setup` before training.")
        self._pool = self._pool.to(batch.weight.device)
        return self._pool

    def _mass(self, catalogue: Catalogue) -> Tensor:
        count = catalogue.exposures.of(catalogue.item_id)
        if self.distribution == "uniform":
            return torch.ones(count.numel(), dtype=torch.float64)
        if self.distribution == "frequency":
            return (1.0 + count.double()).log().mul(self.alpha).exp()
        if self.strata == POPULARITY:
            exposures = catalogue.exposures
            stratum = exposures.band_of(catalogue.item_id, exposures.bands((0.5, 0.8)))
        elif self.strata in catalogue.names:
            stratum = catalogue.fields.ids[:, catalogue.names.index(self.strata)]
        else:
            raise ConfigError(
                "Random negatives are stratified by a field that items do not have.",
                where="RandomNegatives.strata",
                expected=", ".join([POPULARITY, *catalogue.names]),
                found=self.strata,
            )
        _, number, size = torch.unique(stratum, return_inverse=True, return_counts=True)
        mass: Tensor = 1.0 / size[number].double()
        return mass
