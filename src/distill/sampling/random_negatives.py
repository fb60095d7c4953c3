"""Negatives from the whole catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from distill.batch import Batch, FeatureBlock, Origin
from distill.data.catalogue import Catalogue
from distill.errors import ConfigError
from distill.ops.random import hashed_uniform
from distill.sampling.added import AddedNegatives, Drawn

Distribution = Literal["uniform", "frequency", "stratified"]
POPULARITY = "popularity"


class RandomNegatives(AddedNegatives):
    """Adds random items of the catalogue to each request, with missing cross fields.

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

    Raises:
        ConfigError: The distribution is unknown or α negative.

    Reference: Mikolov et al., "Distributed Representations of Words and Phrases", 2013, arXiv:1310.4546 (α = ¾).
    """

    origin = Origin.RANDOM_NEGATIVE
    needs_items = True

    def __init__(
        self,
        tasks: Sequence[str] | None = None,
        weight: float = 1.0,
        per_request: int = 5,
        distribution: Distribution = "uniform",
        alpha: float = 0.75,
        strata: str = POPULARITY,
        seed: int = 0,
    ) -> None:
        super().__init__(tasks, weight, per_request, seed)
        if distribution not in get_args(Distribution) or alpha < 0:
            raise ConfigError(
                "Random negatives cannot be drawn like this.",
                where="RandomNegatives",
                expected=f"distribution: {', '.join(get_args(Distribution))}; alpha ≥ 0",
                found=f"distribution={distribution}, alpha={alpha}",
            )
        self.distribution, self.alpha, self.strata = distribution, float(alpha), strata
        self.catalogue: Catalogue | None = None
        self._block: FeatureBlock | None = None
        self.register_buffer("cumulative", torch.empty(0, dtype=torch.float64), persistent=False)
        self.register_buffer("log_q", torch.empty(0), persistent=False)
        self.register_buffer("item_id", torch.empty(0, dtype=torch.int64), persistent=False)

    cumulative: Tensor
    log_q: Tensor
    item_id: Tensor

    def setup_items(self, catalogue: Catalogue) -> None:
        """Computes the probability of every item; see `Sampler.setup_items`.

        Raises:
            ConfigError: The strata name no field of the catalogue.
        """
        q = self._mass(catalogue)
        q = q / q.sum()
        self.catalogue = catalogue
        self.item_id, self.cumulative, self.log_q = catalogue.item_id, q.cumsum(0), q.log().float()

    def _mass(self, catalogue: Catalogue) -> Tensor:
        count = catalogue.exposures.of(catalogue.item_id)
        if self.distribution == "uniform":
            return torch.ones(count.numel(), dtype=torch.float64)
        if self.distribution == "frequency":
            return (1.0 + count.double()).log().mul(self.alpha).exp()
        if self.strata == POPULARITY:
            head, torso = catalogue.exposures.bands((0.5, 0.8))
            stratum = (count < head).long() + (count < torso)
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

    def draw(self, batch: Batch, request: Tensor, keys: Tensor, step: int) -> Drawn:
        """Draws items by their probability; see `AddedNegatives.draw`."""
        if self.catalogue is None:
            raise ConfigError("The random negatives have no catalogue.", remedy="call `setup_items` before training")
        chosen = torch.searchsorted(self.cumulative, hashed_uniform(keys, self.seed, step))
        chosen = chosen.clamp_(max=self.item_id.numel() - 1)
        if self._block is None or self._block.ids.device != chosen.device:
            self._block = self.catalogue.fields.to(chosen.device)
        missing = self.catalogue.missing_cross.to(chosen.device)
        return Drawn(
            request=request,
            item_id=self.item_id[chosen],
            candidate=self._block.select(chosen),
            cross=missing.select(torch.zeros_like(chosen)),
            log_q=self.log_q[chosen],
        )
