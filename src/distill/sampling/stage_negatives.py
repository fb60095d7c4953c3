"""Candidates that an earlier stage of the cascade cut become negatives."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from distill.batch import Batch, Origin
from distill.errors import ConfigError
from distill.ops.random import hashed_uniform
from distill.ops.segment import segment_rank
from distill.ops.waiting import places
from distill.sampling.base import Sampler, parse_stages


class StageNegatives(Sampler):
    """Labels up to `per_request` random candidates of a request that ended at some stages, as negatives of every task.

    Candidates are drawn without replacement, others at every step. The draw depends on the seed, the step and the row
    alone, so it is the same after a resume and for any number of processes that read the same global batches.

    Args:
        tasks: Names of the tasks that get labels; all of the schema's if None.
        weight: Weight of the rows that it labels, times their own.
        stages: Stages where a candidate ended: `ranked` (the ranker cut it), `preranked`, `recalled`.
        per_request: Negatives of a request; all of them if None.
        seed: Of the draw.

    Raises:
        ConfigError: A stage is unknown, or there is no negative to draw.
    """

    def __init__(
        self,
        tasks: Sequence[str] | None = None,
        weight: float = 1.0,
        stages: Sequence[str] = ("ranked",),
        per_request: int | None = 5,
        seed: int = 0,
    ) -> None:
        super().__init__(tasks, weight)
        self.stages = parse_stages(stages, "StageNegatives.stages")
        if per_request is not None and per_request < 1:
            raise ConfigError(
                "There must be at least one negative to draw.",
                where="StageNegatives.per_request",
                expected="at least 1, or null for all",
                found=str(per_request),
            )
        self.per_request, self.seed = per_request, seed

    def forward(self, batch: Batch, step: int) -> Batch:
        """Returns the batch with more negatives."""
        ended = torch.stack([batch.stage == int(stage) for stage in self.stages]).any(dim=0)
        eligible = self.unlabelled(batch) & ended.unsqueeze(1)
        if self.per_request is not None:
            taken = places(eligible.any(dim=1))
            draw = hashed_uniform(batch.row.index_select(0, taken.rows), self.seed, step)
            index = taken.keep(batch.request_index.index_select(0, taken.rows), batch.num_requests)
            place = segment_rank(draw, index, batch.num_requests + (taken.real is not None))
            none = torch.zeros(batch.num_candidates + 1, dtype=torch.bool, device=draw.device)
            drawn = none.scatter(0, taken.index, place < self.per_request)[:-1]
            eligible &= drawn.unsqueeze(1)
        labels = torch.zeros_like(eligible, dtype=batch.labels.dtype)
        origin = torch.full_like(batch.origin, int(Origin.STAGE_NEGATIVE))
        return self.labelled(batch, eligible, labels, torch.zeros_like(eligible), origin, most_positive=0)
