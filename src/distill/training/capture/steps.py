"""Whole training steps of static shapes, recorded once for each shape of a batch."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from distill.batch import Batch, LossReport, Ragged, TensorStruct
from distill.ops.ranks import world_size
from distill.training.callbacks import StopOnNonFinite
from distill.training.capture.dense_mean import DenseMean
from distill.training.capture.known import KnownSizes
from distill.training.capture.moving_buffers import MovingBuffers
from distill.training.capture.numbers import DeviceNumbers
from distill.training.capture.outcome import Outcome
from distill.training.capture.recorder import CannotRecord, Recorder, Recording
from distill.training.combined import CombinedOptimizer
from distill.training.kept_steps import Greatest
from distill.training.module import RankingModule
from distill.training.optim import dense_parameters
from distill.training.sparse_sync import Counts

_log = logging.getLogger(__name__)
_Key = tuple[object, ...]
MOST_RECORDED = 32
"""Shapes that are recorded at most, each with its own copy of a batch on the device."""


class StaticSteps:
    """Takes the training steps of a module, from clearing the gradients to the optimiser's update.

    A step is the same whether it is recorded or not, so that what is recorded when (in a run that goes on, say) changes
    no result: the first batch of a shape is trained on as it comes, the second is recorded, those that follow are
    copied to where it was and the recording is replayed. Batches of a shape have the same sizes, fields and terms of
    the loss that have a weight.

    With several ranks a step exchanges gradients itself, recorded or not, and never calls DDP. The batches of a step
    have one shape on all ranks (`padded_alike`), so that all record and replay the same steps: a collective call must
    be replayed by all or by none (NCCL). If one rank cannot record a step, none does.

    Args:
        module: Its optimiser's states are where it is.
        optimizer: Of the module.
        recorder: Of its device.
        watch: Looks the loss and the gradients over, if they are.
    """

    def __init__(
        self, module: RankingModule, optimizer: CombinedOptimizer, recorder: Recorder, watch: StopOnNonFinite | None
    ) -> None:
        self._module = module
        self._optimizer = optimizer
        self._recorder = recorder
        self._watch = watch
        self._numbers = DeviceNumbers(optimizer, module.loss, module.device)
        several = world_size() > 1
        self._dense = DenseMean([*dense_parameters(module).values()]) if several else None
        self._moving = MovingBuffers(module) if several else None
        self._known = KnownSizes.of(module)
        self._seen: dict[_Key, Counts | None] = {}
        self._shapes: dict[_Key, _Shape] = {}
        self._records = True

    @property
    def num_recorded(self) -> int:
        """How many shapes are recorded."""
        return len(self._shapes)

    def forget(self) -> None:
        """Forgets what was recorded, with its memory."""
        self._shapes.clear()
        self._seen.clear()

    def take(self, batch: Batch, step: int) -> tuple[LossReport, Greatest | None]:
        """Takes a step.

        Args:
            batch: Padded, ready, where the model is. One without a `Batch.padding` has another shape on each rank, and
                is not recorded.
            step: Global step, counted from 0.

        Returns:
            The loss, and the greatest values of its gradients if they are looked over.
        """
        self._numbers.write(step)
        batch = self._known.only(batch)
        found = _Leaves.of(batch)
        found.has_unmeasured |= self._known.lacks(batch)
        key = (*found.key, *(term.weight.is_zero(step) for term in self._module.loss.terms_and_adapter().values()))
        if key in self._seen and key not in self._shapes:
            self._record(key, batch, step)
        shape = self._shapes.get(key)
        if shape is None:
            may_be = batch.padding is not None and batch.num_candidates > 0 and not found.has_unmeasured
            outcome, counts = self._recorder.run(partial(self._step, batch, step), watched=self._records and may_be)
            if may_be:
                self._seen[key] = counts
            if self._moving is not None:
                self._moving.look()
        else:
            outcome = shape.again(found)
        self._numbers.count()
        return outcome.copied()

    def _record(self, key: _Key, batch: Batch, step: int) -> None:
        """Records a shape that was seen before, if there is room."""
        if not self._records:
            return
        if len(self._shapes) == MOST_RECORDED:
            self._records = False
            _log.info("%d shapes of batches are captured, steps on others are not.", MOST_RECORDED)
            return
        if not self._agreed(self._recorder.refuses):
            return
        own = batch.map(torch.clone)
        self._optimizer.zero_grad()
        recording, why = None, None
        try:
            recording = self._recorder.record(partial(self._step, own, step, self._seen[key]))
        except CannotRecord as error:
            why = str(error)
        if self._agreed(why) and recording is not None:
            self._shapes[key] = _Shape(own, recording)

    def _agreed(self, why_not: str | None) -> bool:
        """Says whether all ranks can record; if one cannot, nothing is recorded any more."""
        self._records = self._module.hosts.all(why_not is None)
        if not self._records:
            why = why_not or "another process cannot record its step"
            _log.warning("Steps on further shapes of batches are not captured: %s", why)
        return self._records

    def _step(self, batch: Batch, step: int, counts: Counts | None = None) -> tuple[Outcome, Counts | None]:
        """Takes a step; returns how many rows of the tables the ranks have sent, which a recording must know."""
        kind = self._module.device.type
        with self._numbers.in_use():
            self._optimizer.zero_grad()
            if self._moving is not None:
                self._moving.share()
            with _autocast_as_now(kind):
                report = self._module.report_of(batch, step)
            with torch.autocast(kind, enabled=False):  # the caller's is for a forward pass
                torch.autograd.backward(report.total)
                self._average_dense()
                greatest = self._looked_over(report.total)
                counts = self._module.finish_gradients(counts)
                self._optimizer.step()
                return Outcome.of(report, greatest), counts

    def _average_dense(self) -> None:
        """Takes the mean of dense gradients over the ranks; rows of tables are summed while these are on their way."""
        if self._dense is not None:
            finish = self._dense.begin()
            self._module.finish_gradients.sum_rows()
            finish()

    def _looked_over(self, loss: Tensor) -> Greatest | None:
        """Withholds the update if a gradient is not finite; see `StopOnNonFinite`."""
        if self._watch is None:
            return None
        greatest = Greatest.of(loss.detach(), self._watch.gradients_of(self._module).values())
        self._optimizer.withhold(self._watch.kept.raised(greatest.flag))
        return greatest


def _autocast_as_now(kind: str) -> torch.autocast:
    """Casts as the caller does, but keeps no cast weight: one of another step would be none of a recording's."""
    enabled, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
    return torch.autocast(kind, dtype=dtype, enabled=enabled, cache_enabled=False)


@dataclass
class _Leaves:
    """The tensors of a batch on its device, and what tells its shape from others."""

    tensors: list[Tensor] = field(default_factory=list)
    key: list[object] = field(default_factory=list)
    has_unmeasured: bool = False

    @classmethod
    def of(cls, batch: Batch) -> _Leaves:
        found = cls()
        for name, value in vars(batch).items():
            if name not in batch.on_host:
                found._add(value)
        found.key.append(batch.sizes)
        return found

    def _add(self, value: Any) -> None:
        if isinstance(value, Tensor):
            self.tensors.append(value)
            self.key.append(value.shape)
        elif isinstance(value, TensorStruct):
            for item in vars(value).values():
                self._add(item)
            if isinstance(value, Ragged):
                self.key += [value.longest, value.seen]
                self.has_unmeasured |= value.longest is None
        elif isinstance(value, Mapping):
            for item in value.values():
                self._add(item)
        elif value is None:
            self.key.append(None)


class _Shape:
    """Batches of a shape: where they are copied to, and the recorded step on what is there.

    Args:
        batch: Where to; what stays on the host is not read.
        recording: Of the step.
    """

    def __init__(self, batch: Batch, recording: Recording[tuple[Outcome, Counts | None]]) -> None:
        self._recording = recording
        leaves = _Leaves.of(batch).tensors
        types = dict.fromkeys(leaf.dtype for leaf in leaves)
        places = [[i for i, leaf in enumerate(leaves) if leaf.dtype is kind] for kind in types]
        self._by_type = [([leaves[i] for i in of_type], of_type) for of_type in places]

    def again(self, found: _Leaves) -> Outcome:
        """Takes the step on another batch; what it says is changed by the next."""
        for own, places in self._by_type:
            torch._foreach_copy_(own, [found.tensors[i] for i in places])
        self._recording.replay()
        return self._recording.result[0]
