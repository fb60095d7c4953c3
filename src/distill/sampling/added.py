"""Negatives that are new rows of a batch, rather than labels of rows that it has."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from distill.batch import MISSING_KEY, Batch, FeatureBlock, Origin, Stage, TeacherSignals, TensorStruct
from distill.errors import ConfigError
from distill.list_sizes import ListSizes
from distill.losses.setting import LossSetting
from distill.ops.random import hashed_uniform
from distill.ops.waiting import Places, can_look
from distill.sampling.base import Sampler

ROUNDS = 8
NO_ITEM = torch.iinfo(torch.int64).max


@dataclass(frozen=True)
class Pool(TensorStruct):
    """Rows that negatives are drawn from.

    Attributes:
        items: Items of the rows `[I]` int64, ascending, distinct.
        probability: That a draw gives each of them `[I]` float64.
        place: Which of the items each row is `[P]` int64.
        cumulative: Probability that a draw gives a row or one before it `[P]` float64.
        fields: Candidate-side fields, P rows, unless `row` says which.
        row: Row of `fields` that each row is `[P]` int64, if it is not the same.
        count: How many of the rows there are, where a device alone knows: a scalar; others, behind them, have the item
            `NO_ITEM`, and an item may then be more than once among the items.
    """

    items: Tensor
    probability: Tensor
    place: Tensor
    cumulative: Tensor
    fields: FeatureBlock
    row: Tensor | None = None
    count: Tensor | None = None

    @classmethod
    def of(cls, item_id: Tensor, mass: Tensor, fields: FeatureBlock) -> Pool:
        """Makes a pool of rows with items `[P]`, drawn with a probability proportional to `mass [P]` float64."""
        q = mass / mass.sum()
        items, place = torch.unique(item_id, return_inverse=True)
        probability = q.new_zeros(items.shape[0]).index_add(0, place, q)
        return cls(items, probability, place, q.cumsum(0), fields)

    @classmethod
    def of_some(cls, taken: Places, item_id: Tensor, fields: FeatureBlock) -> Pool:
        """Makes a pool of some rows of many `[N]`, each alike, without a look at how many they are."""
        own = taken.keep(item_id.index_select(0, taken.rows), NO_ITEM)
        real = torch.ones_like(own, dtype=torch.bool) if taken.real is None else taken.real
        q = real.double() / real.sum().clamp(min=1)
        items = own.sort().values
        place = torch.searchsorted(items, own)
        probability = q.new_zeros(items.shape[0]).index_add(0, place, q)
        return cls(items, probability, place, q.cumsum(0), fields, taken.rows, real.sum())

    def draw(self, uniform: Tensor) -> Tensor:
        """Returns a row for each number in [0, 1)."""
        found = torch.searchsorted(self.cumulative, uniform)
        if self.count is None:
            return found.clamp_(max=self.cumulative.shape[0] - 1)
        return torch.minimum(found, (self.count - 1).clamp(min=0))

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
        real: Which are to be added `[A]` bool; the others are there, with weight 0, since a device alone knows which.
            None if all are.
    """

    request: Tensor
    row: Tensor
    log_q: Tensor
    real: Tensor | None = None


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
        self._cross = setting.missing_cross().measured()

    @abstractmethod
    def pool(self, batch: Batch) -> Pool | None:
        """Returns what negatives are drawn from at this step; None if there is nothing."""

    def forward(self, batch: Batch, step: int) -> Batch:
        """Returns the batch with more rows."""
        if not batch.num_candidates:
            return batch
        pool = self.pool(batch)
        if pool is None:
            return batch
        looks = can_look(batch.weight) or not (pool.fields.is_measured and batch.candidate.is_measured)
        return self._with_rows(batch, pool, (self._drawn if looks else self._laid_out)(batch, pool, step))

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
            found = pool.draw(uniform)
            has_it = torch.isin(request[open_] * pool.items.shape[0] + pool.place[found], own)
            row[open_[~has_it]] = found[~has_it]
            open_ = open_[has_it]
        (new,) = (row >= 0).nonzero(as_tuple=True)
        request, row = request[new], row[new]
        return Drawn(request, row, _log_q(pool, request, row, taken))

    def _laid_out(self, batch: Batch, pool: Pool, step: int) -> Drawn:
        """The same for all requests and all rounds, without a look at which are real and which draws are taken; and one
        more, which is not real, of the last request."""
        num_requests, size, device = batch.num_requests, pool.items.shape[0], batch.weight.device
        weighs = torch.zeros_like(batch.request_id).index_add(0, batch.request_index, (batch.weight > 0).long()) > 0
        request = torch.arange(num_requests, device=device).repeat_interleave(self.per_request)
        draw = torch.arange(self.per_request, device=device).repeat(num_requests)
        keys = batch.request_id[request] * self.per_request + draw
        own, taken = _sorted_own_items(batch, pool)
        row = torch.full_like(request, -1)
        for again in range(ROUNDS):
            found = pool.draw(hashed_uniform(keys, self.seed, step, again))
            pair = request * size + pool.place[found]
            has_it = own[torch.searchsorted(own, pair).clamp_(max=own.shape[0] - 1)] == pair
            row = torch.where((row < 0) & ~has_it, found, row)
        real = (row >= 0) & weighs[request]
        if pool.count is not None:
            real &= pool.count > 0
        row = torch.where(real, row, 0)
        log_q, last = torch.where(real, _log_q(pool, request, row, taken), 0.0), request[-1:]
        return Drawn(
            torch.cat([request, last]),
            torch.cat([row, torch.zeros_like(last)]),
            torch.cat([log_q, torch.zeros_like(log_q[:1])]),
            torch.cat([real, torch.zeros_like(real[:1])]),
        )

    def _with_rows(self, batch: Batch, pool: Pool, drawn: Drawn) -> Batch:
        if self._cross is None:
            raise ConfigError(
                f"{type(self).__name__} does not know missing cross fields.",
                remedy="Call `setup` before training.",
            )
        count, device = drawn.row.numel(), batch.weight.device
        self._cross = self._cross.to(device)
        none, row = torch.zeros_like(drawn.row), drawn.row if pool.row is None else pool.row[drawn.row]
        real, item_id, request = drawn.real, pool.items[pool.place[drawn.row]], batch.request
        if real is None:
            cross, fields = self._cross.select(none), pool.fields.select(row)
        else:  # what is laid out has one more row, as has what was drawn
            cross, fields = self._cross.laid_out(none[1:]), pool.fields.laid_out(row[:-1])
            item_id = torch.where(real, item_id, MISSING_KEY)
            request = _seen_more(request, self.per_request)
        exists = torch.ones_like(drawn.row, dtype=torch.bool) if real is None else real
        request_index = torch.cat([batch.request_index, drawn.request])
        order = request_index.argsort(stable=True)

        def joined(own: Tensor, added: Tensor) -> Tensor:
            return torch.cat([own, added.to(own.dtype)]).index_select(0, order)

        def constant(own: Tensor, value: float) -> Tensor:
            return joined(own, torch.full((count, *own.shape[1:]), value, dtype=own.dtype, device=device))

        observed = exists.unsqueeze(1).expand(-1, batch.labels.shape[1])
        observed = self.widened(self.own_columns(observed), observed.contiguous())
        own_log_q = torch.zeros_like(batch.weight) if batch.log_q is None else batch.log_q
        return replace(
            batch,
            request=request,
            candidate=batch.candidate.joined(fields).select(order, are_all=real is not None),
            cross=batch.cross.joined(cross).select(order, are_all=real is not None),
            request_index=request_index.index_select(0, order),
            labels=constant(batch.labels, 0),
            grades=None if batch.grades is None else constant(batch.grades, 0),
            observed=joined(batch.observed, observed),
            stage=constant(batch.stage, int(Stage.RECALLED)),
            origin=constant(batch.origin, int(self.origin)),
            weight=joined(batch.weight, self.weight * exists),
            item_id=joined(batch.item_id, item_id),
            row=constant(batch.row, -1),
            columns={name: constant(values, 1.0) for name, values in batch.columns.items()},
            signals=None if batch.signals is None else _unscored(batch.signals, count).select(order),
            log_q=joined(own_log_q, drawn.log_q),
            sizes=_grown(batch, self.per_request),
        )


def _grown(batch: Batch, per_request: int) -> ListSizes | None:
    """What is known of lists that got that many rows, and the last one more."""
    if batch.sizes is None:
        return None
    return batch.sizes.with_added(per_request + 1, batch.num_requests, batch.num_candidates)


def _seen_more(block: FeatureBlock, per_request: int) -> FeatureBlock:
    """Counts what the new candidates see of the sequences of requests, one more of the last request included."""
    sequences = dict(block.sequences)
    for name, ragged in block.sequences.items():
        if ragged.seen is not None and ragged.longest is not None:
            more = per_request * ragged.values.shape[0] + ragged.longest
            sequences[name] = replace(ragged, seen=ragged.seen + more)
    return replace(block, sequences=sequences)


def _log_q(pool: Pool, request: Tensor, row: Tensor, taken: Tensor) -> Tensor:
    """Returns log q of rows `[A]` drawn for requests whose candidates take `taken [R]` of the probability."""
    left = (1.0 - taken[request]).clamp(min=torch.finfo(taken.dtype).tiny)
    return (pool.probability[pool.place[row]].log() - left.log()).float()


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


def _sorted_own_items(batch: Batch, pool: Pool) -> tuple[Tensor, Tensor]:
    """Finds what `_own_items` finds, with pairs that come more than once, and `NO_ITEM`, among the others in order."""
    place, known = pool.find(batch.item_id)
    size, num_requests = pool.items.shape[0], batch.num_requests
    own = torch.where(known, batch.request_index * size + place, NO_ITEM).sort().values
    counts = own < NO_ITEM
    counts[1:] &= own[1:] != own[:-1]
    request = torch.where(counts, own // size, num_requests)
    share = torch.where(counts, pool.probability[own % size], 0.0)
    return own, pool.probability.new_zeros(num_requests + 1).index_add(0, request, share)[:num_requests]
