"""Negatives that are positives of other requests of the batch."""

from __future__ import annotations

import torch

from distill.batch import MISSING_KEY, Batch, Origin
from distill.ops.waiting import can_look, places
from distill.sampling.added import AddedNegatives, Pool


class InBatchNegatives(AddedNegatives):
    """Adds positives of other requests to each request, which draws items by how often they are positive.

    A positive is a row that is one of any of the rule's tasks (`Batch.positive`). Its cross fields stay behind: they
    describe another pair. A positive whose item is not known is not drawn: nobody could tell whether a request has it.
    The arguments are those of `AddedNegatives`.

    Reference: Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019.
    """

    origin = Origin.IN_BATCH_NEGATIVE

    def pool(self, batch: Batch) -> Pool | None:
        """Returns the positives of the batch, each alike; see `AddedNegatives.pool`."""
        taken = self.own_columns(batch.positive).any(dim=1) & (batch.item_id != MISSING_KEY)
        if not can_look(taken) and batch.candidate.is_measured:
            return Pool.of_some(places(taken), batch.item_id, batch.candidate)
        (rows,) = taken.nonzero(as_tuple=True)
        if not rows.numel():
            return None
        alike = torch.ones(rows.shape[0], dtype=torch.float64, device=rows.device)
        return Pool.of(batch.item_id[rows], alike, batch.candidate.select(rows))
