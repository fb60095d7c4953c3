"""Negatives that are new rows of a batch, rather than labels of rows that it has."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from distill.batch import Batch, FeatureBlock, Origin, Stage, TeacherSignals
from distill.errors import ConfigError
from distill.sampling.base import Sampler


@dataclass(frozen=True)
class Drawn:
    """Candidates to add.

    Attributes:
        request: Row of the request that each joins `[A]` int64.
        item_id: `[A]` int64.
        candidate: Candidate-side fields, A rows.
        cross: Cross fields, A rows.
        log_q: Logarithm of the probability that a draw gives the item `[A]` float32.
    """

    request: Tensor
    item_id: Tensor
    candidate: FeatureBlock
    cross: FeatureBlock
    log_q: Tensor


class AddedNegatives(Sampler):
    """Adds items that a request did not recall, as negatives.

    A draw that is a candidate of the request already is left out, so no positive of the request comes back as a
    negative. New rows come after the others of their request, have stage RECALLED, row −1 and no teacher score, and
    carry the probability of their draw (`Batch.log_q`). The draws depend on the seed, the step and the request alone.

    Args:
        tasks: Names of the tasks that get labels; all of the schema's if None.
        weight: Weight of the new rows.
        per_request: Draws of a request.
        seed: Of the draw.

    Raises:
        ConfigError: There is nothing to draw.
    """

    origin: Origin

    def __init__(
        self, tasks: Sequence[str] | None = None, weight: float = 1.0, per_request: int = 5, seed: int = 0
    ) -> None:
        super().__init__(tasks, weight)
        if per_request < 1:
            raise ConfigError(
                "There is no negative to draw.",
                where=f"{type(self).__name__}.per_request",
                expected="at least 1",
                found=str(per_request),
            )
        self.per_request, self.seed = per_request, seed

    @abstractmethod
    def draw(self, batch: Batch, request: Tensor, keys: Tensor, step: int) -> Drawn:
        """Draws an item for each of `request [A]`; `keys [A]` int64 differ from draw to draw of a step."""

    def forward(self, batch: Batch, step: int) -> Batch:
        """Returns the batch with more rows."""
        real = torch.zeros(batch.num_requests, dtype=torch.bool, device=batch.weight.device)
        real[batch.request_index[batch.weight > 0]] = True
        (requests,) = real.nonzero(as_tuple=True)
        request = requests.repeat_interleave(self.per_request)
        place = torch.arange(self.per_request, device=request.device).repeat(requests.numel())
        drawn = self.draw(batch, request, batch.request_id[request] * self.per_request + place, step)
        (new,) = (~_is_candidate(batch, drawn.request, drawn.item_id)).nonzero(as_tuple=True)
        return self._with_rows(batch, drawn, new)

    def _with_rows(self, batch: Batch, drawn: Drawn, new: Tensor) -> Batch:
        count, device = new.numel(), batch.weight.device
        request_index = torch.cat([batch.request_index, drawn.request[new]])
        order = request_index.argsort(stable=True)

        def joined(own: Tensor, added: Tensor) -> Tensor:
            return torch.cat([own, added.to(own.dtype)]).index_select(0, order)

        def constant(own: Tensor, value: float) -> Tensor:
            return joined(own, torch.full((count, *own.shape[1:]), value, dtype=own.dtype, device=device))

        observed = torch.zeros(count, batch.labels.shape[1], dtype=torch.bool, device=device)
        observed[:, self.columns] = True
        own_log_q = torch.zeros_like(batch.weight) if batch.log_q is None else batch.log_q
        return replace(
            batch,
            candidate=batch.candidate.joined(drawn.candidate.select(new)).select(order),
            cross=batch.cross.joined(drawn.cross.select(new)).select(order),
            request_index=request_index.index_select(0, order),
            labels=constant(batch.labels, 0),
            observed=joined(batch.observed, observed),
            stage=constant(batch.stage, int(Stage.RECALLED)),
            origin=constant(batch.origin, int(self.origin)),
            weight=constant(batch.weight, self.weight),
            item_id=joined(batch.item_id, drawn.item_id[new]),
            row=constant(batch.row, -1),
            columns={name: constant(values, 1.0) for name, values in batch.columns.items()},
            signals=None if batch.signals is None else _unscored(batch.signals, count).select(order),
            log_q=joined(own_log_q, drawn.log_q[new]),
        )


def _unscored(signals: TeacherSignals, count: int) -> TeacherSignals:
    """Adds rows that the teacher did not score."""
    return signals.map(lambda own: torch.cat([own, own.new_zeros(count, *own.shape[1:])]))


def _is_candidate(batch: Batch, request: Tensor, item_id: Tensor) -> Tensor:
    """Whether an item is a candidate of a request already, in whatever role `[A]` bool."""
    if not item_id.numel():
        return torch.zeros_like(item_id, dtype=torch.bool)
    items, code = torch.unique(torch.cat([batch.item_id, item_id]), return_inverse=True)
    own, asked = code.split([batch.num_candidates, item_id.numel()])
    return torch.isin(request * items.numel() + asked, batch.request_index * items.numel() + own)
