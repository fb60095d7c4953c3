"""Negatives that are new rows of a batch, rather than labels of rows that it has."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from distill.batch import Batch, FeatureBlock, Origin, Stage, TeacherSignals, TensorStruct
from distill.errors import ConfigError
from distill.losses.setting import LossSetting
from distill.ops.random import hashed_uniform
from distill.sampling.base import Sampler

ROUNDS = 8


@dataclass(frozen=True)
class Pool(TensorStruct):
    """Rows that negatives are drawn from.

    Attributes:
        items: Items of the rows `[I]` int64, ascending, distinct.
        probability: That a draw gives each of them `[I]` float64.
        place: Which of the items each row is `[P]` int64.
        cumulative: Probability that a draw gives a row or one before it `[P]` float64.
        fields: Candidate-side fields, P rows.
    """

    items: Tensor
    probability: Tensor
    place: Tensor
    cumulative: Tensor
    fields: FeatureBlock

    @classmethod
    def of(cls, item_id: Tensor, mass: Tensor, fields: FeatureBlock) -> Pool:
        """Makes a pool of rows with items `[P]`, drawn with a probability proportional to `mass [P]` float64."""
        q = mass / mass.sum()
        items, place = torch.unique(item_id, return_inverse=True)
        probability = q.new_zeros(items.shape[0]).index_add(0, place, q)
        return cls(items, probability, place, q.cumsum(0), fields)

    def find(self, item_id: Tensor) -> tuple[Tensor, Tensor]:
        """Looks items up.

        Returns:
            Their places among `items`, and whether they are there, of the shape of `item_id`.
        """
        place = torch.searchsorted(self.items, item_id).clamp_(max=max(self.items.shape[0] - 1, 0))
        return place, self.items[place] == item_id


@dataclass(frozen=True)
class Drawn:
    """Candidates to add.

    Attributes:
        request: Row of the request that each joins `[A]` int64.
        row: Row of the pool that each is `[A]` int64.
        log_q: Logarithm of the probability that a draw for the request gives the item `[A]` float32.
    """

    request: Tensor
    row: Tensor
    log_q: Tensor


class AddedNegatives(Sampler):
    """Adds items that a request did not recall, as negatives.

    A draw that is a candidate of the request already is drawn again, so no positive of the request comes back as a
    negative; what is one after eight draws is left out, which happens where a request has most of the items that there
    are. New rows come after the others of their request, have missing cross fields, stage RECALLED, row −1 and no
    teacher score here (see `taught`), and carry the probability of their draw (`Batch.log_q`): q_i / (1 − Σ_c q_c) over
    the candidates c of the request. The draws depend on the seed, the step and the request alone.

    Args:
        tasks: Names of the tasks that get labels; all of the schema's if None.
        weight: Weight of the new rows.
        per_request: Draws of a request.
        seed: Of the draw.
        taught: Whether a teacher that runs in the step scores the new rows, as any candidate without cross fields.

    Raises:
        ConfigError: There is nothing to draw.
    """

    origin: Origin

    def __init__(
        self,
        tasks: Sequence[str] | None = None,
        weight: float = 1.0,
        per_request: int = 5,
        seed: int = 0,
        taught: bool = False,
    ) -> None:
        super().__init__(tasks, weight)
        if per_request < 1:
            raise ConfigError(
                "There must be at least one negative to draw.",
                where=f"{type(self).__name__}.per_request",
                expected="at least 1",
                found=str(per_request),
            )
        self.per_request, self.seed = per_request, seed
        self.taught_origin = self.origin if taught else None
        self._cross: FeatureBlock | None = None

    def setup(self, setting: LossSetting) -> None:
        """Learns how missing cross fields are encoded; see `Sampler.setup`."""
        super().setup(setting)
        self._cross = setting.missing_cross()

    @abstractmethod
    def pool(self, batch: Batch) -> Pool | None:
        """Returns what negatives are drawn from at this step; None if there is nothing."""

    def forward(self, batch: Batch, step: int) -> Batch:
        """Returns the batch with more rows."""
        pool = self.pool(batch)
        if pool is None:
            return batch
        return self._with_rows(batch, pool, self._drawn(batch, pool, step))

    def _drawn(self, batch: Batch, pool: Pool, step: int) -> Drawn:
        """Draws for each request with a real candidate, and again where the request has the item."""
        real = torch.zeros(batch.num_requests, dtype=torch.bool, device=batch.weight.device)
        real[batch.request_index[batch.weight > 0]] = True
        (requests,) = real.nonzero(as_tuple=True)
        request = requests.repeat_interleave(self.per_request)
        draw = torch.arange(self.per_request, device=request.device).repeat(requests.numel())
        keys = batch.request_id[request] * self.per_request + draw
        own, taken = _own_items(batch, pool)
        row = torch.full_like(request, -1)
        open_ = torch.arange(request.shape[0], device=request.device)
        for again in range(ROUNDS):
            if not open_.numel():
                break
            uniform = hashed_uniform(keys[open_], self.seed, step, again)
            found = torch.searchsorted(pool.cumulative, uniform).clamp_(max=pool.cumulative.shape[0] - 1)
            has_it = torch.isin(request[open_] * pool.items.shape[0] + pool.place[found], own)
            row[open_[~has_it]] = found[~has_it]
            open_ = open_[has_it]
        (new,) = (row >= 0).nonzero(as_tuple=True)
        request, row = request[new], row[new]
        left = (1.0 - taken[request]).clamp(min=torch.finfo(taken.dtype).tiny)
        return Drawn(request, row, (pool.probability[pool.place[row]].log() - left.log()).float())

    def _with_rows(self, batch: Batch, pool: Pool, drawn: Drawn) -> Batch:
        if self._cross is None:
            raise ConfigError(
                f"{type(self).__name__} does not know missing cross fields.",
                remedy="Call `setup` before training.",
            )
        count, device = drawn.row.numel(), batch.weight.device
        self._cross = self._cross.to(device)
        cross = self._cross.select(torch.zeros_like(drawn.row))
        request_index = torch.cat([batch.request_index, drawn.request])
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
            candidate=batch.candidate.joined(pool.fields.select(drawn.row)).select(order),
            cross=batch.cross.joined(cross).select(order),
            request_index=request_index.index_select(0, order),
            labels=constant(batch.labels, 0),
            grades=None if batch.grades is None else constant(batch.grades, 0),
            observed=joined(batch.observed, observed),
            stage=constant(batch.stage, int(Stage.RECALLED)),
            origin=constant(batch.origin, int(self.origin)),
            weight=constant(batch.weight, self.weight),
            item_id=joined(batch.item_id, pool.items[pool.place[drawn.row]]),
            row=constant(batch.row, -1),
            columns={name: constant(values, 1.0) for name, values in batch.columns.items()},
            signals=None if batch.signals is None else _unscored(batch.signals, count).select(order),
            log_q=joined(own_log_q, drawn.log_q),
        )


def _unscored(signals: TeacherSignals, count: int) -> TeacherSignals:
    """Adds rows that the teacher did not score."""
    return signals.map(lambda own: torch.cat([own, own.new_zeros(count, *own.shape[1:])]))


def _own_items(batch: Batch, pool: Pool) -> tuple[Tensor, Tensor]:
    """Finds which items of the pool are candidates of a request, in whatever role.

    Returns:
        The pairs as `request · I + place`, and the probability that a draw gives one of a request's `[R]` float64.
    """
    place, known = pool.find(batch.item_id)
    own = torch.unique((batch.request_index * pool.items.shape[0] + place)[known])
    request, place = own // pool.items.shape[0], own % pool.items.shape[0]
    taken = pool.probability.new_zeros(batch.num_requests).index_add(0, request, pool.probability[place])
    return own, taken
