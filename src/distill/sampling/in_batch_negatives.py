"""Negatives that are positives of other requests of the batch."""

from __future__ import annotations

import torch
from torch import Tensor

from distill.batch import Batch, Origin
from distill.ops.random import hashed_uniform
from distill.sampling.added import AddedNegatives, Drawn


class InBatchNegatives(AddedNegatives):
    """Adds positives of other requests to each request, which draws items by how often they are positive.

    A positive is a row with a label above 0 of one of the rule's tasks. The cross fields of a new row are those of the
    row it is taken from: they describe another pair, so models that read cross fields should have random negatives
    instead. The arguments are those of `AddedNegatives`.

    Reference: Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019.
    """

    origin = Origin.IN_BATCH_NEGATIVE

    def draw(self, batch: Batch, request: Tensor, keys: Tensor, step: int) -> Drawn:
        """Draws positives of the batch, each alike; see `AddedNegatives.draw`."""
        positive = (batch.labels[:, self.columns] > 0) & batch.observed[:, self.columns]
        (pool,) = positive.any(dim=1).nonzero(as_tuple=True)
        if not pool.numel():
            request, keys = request[:0], keys[:0]
        draw = hashed_uniform(keys, self.seed, step)
        chosen = pool[(draw * pool.numel()).long().clamp_(max=max(pool.numel() - 1, 0))]
        _, number, count = torch.unique(batch.item_id[pool], return_inverse=True, return_counts=True)
        log_q = torch.zeros_like(batch.weight)
        log_q[pool] = (count[number] / max(pool.numel(), 1)).log().to(log_q.dtype)
        return Drawn(
            request=request,
            item_id=batch.item_id[chosen],
            candidate=batch.candidate.select(chosen),
            cross=batch.cross.select(chosen),
            log_q=log_q[chosen],
        )
