"""Ranks that take captured steps over gloo: `python -m tests.training.capture.rank_steps FOLDER CASE …`.

Every rank is a fork of one process that has imported torch and computed nothing. It writes FOLDER/CASE_RANK.pt: losses,
weights, and what was recorded, of a training by recorded steps, of one by DDP, and of one by DDP as on a device.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from distill.batch import Batch, Ragged
from distill.losses import LossInputs, TermSums, terms
from distill.ops.hosts import Hosts
from distill.ops.ranks import mean_over_ranks
from distill.signals.checkpoint import CheckpointSignals
from distill.training.callbacks import StopOnNonFinite
from distill.training.capture.recorder import CannotRecord, Recording
from distill.training.capture.shared_shapes import padded_alike
from distill.training.capture.steps import StaticSteps
from distill.training.finished_gradients import FinishedGradients
from distill.training.module import RankingModule
from distill.training.optim import dense_parameters, table_parameters
from distill.training.sparse_sync import broadcast_tables
from tests.models.composing import build
from tests.no_sync import waits
from tests.training.capture.tape import TapeRecorder
from tests.training.stepping import VIEW, Stepper, batch_of, module_of, state_of
from tests.training.test_no_sync import (
    of_adapter,
    of_bfloat16,
    of_model,
    of_regularised,
    of_small_tables,
    of_term,
    of_weighting,
    serves,
)

SEEDS = (0, 1, 0, 0, 2, 1, 0, 1)  # of a shape the first batch is trained on, the second recorded, others replayed
SIZES = ((4, 3, 2, 5, 1, 4), (3, 6), (1, 1, 9, 2, 2, 1, 1), (2,))  # of the batches of each rank


class Moves(terms.HardBCE):
    """A term with a buffer that each rank would move elsewhere, as `SampledSoftmax` has: DDP has rank 0's win."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, inputs: LossInputs) -> TermSums:
        """Counts for more, the more rows there were in the steps before."""
        sums = super().forward(inputs)
        scale = 1.0 + 0.1 * self.seen
        self.seen += inputs.batch.weight.sum()
        return replace(sums, numerators=sums.numerators * scale)


def of_moving_buffer(_: str) -> RankingModule:
    return module_of("two_tower", {"hard": Moves()})


@dataclass(frozen=True)
class Case:
    """Which module, in how many ranks, on what batches.

    Attributes:
        make: Of a name.
        name: Of the module.
        world: Ranks.
        batch: What becomes of the batch of a rank for a seed.
        recorders: Of each rank.
        precision: Of the forward pass.
    """

    make: Callable[[str], RankingModule]
    name: str
    world: int = 2
    batch: Callable[[Batch, int, int], Batch] = lambda batch, rank, seed: batch
    recorders: Sequence[Callable[[], TapeRecorder]] = (TapeRecorder,) * 4
    precision: torch.dtype = torch.float32


def _silent(batch: Batch, rank: int, seed: int) -> Batch:
    """No term needs a row of rank 1."""
    if (rank, seed) != (1, 1) or batch.signals is None:
        return batch
    none = torch.zeros_like(batch.observed)
    return replace(batch, observed=none, signals=replace(batch.signals, valid=none[:, 0]))


def _without_past(batch: Batch, rank: int, seed: int) -> Batch:
    """No request of rank 1 has a history."""
    if (rank, seed) != (1, 1):
        return batch
    history = batch.request.sequences["history"]
    none = Ragged(history.values[:0], torch.zeros_like(history.lengths))
    return replace(batch, request=replace(batch.request, sequences={"history": none}))


def of_online_teacher(_: str) -> RankingModule:
    teacher = CheckpointSignals(build("dcn_v2", VIEW, "sequence@model.net.sequence=transformer"))
    return module_of("two_tower", {"soft": terms.BernoulliKL(rows="exposed")}, signals=teacher)


def _refusing() -> TapeRecorder:
    recorder = TapeRecorder()
    recorder.refuses = "the step waits for the device (mine.py:3)"
    return recorder


class _Lazy(TapeRecorder):
    """Records nothing until it is replayed, as CUDA does: then it runs the function."""

    def record(self, function: Callable[[], Any]) -> Recording[Any]:
        return Recording(lambda: self.fail(), None)

    def fail(self) -> None:
        raise AssertionError("another rank has no recording")


class _Failing(TapeRecorder):
    """Fails in a recording, before any operation."""

    def record(self, function: Callable[[], Any]) -> Recording[Any]:
        raise CannotRecord("operation not permitted")


CASES = {
    "two_tower": Case(of_model, "two_tower"),
    "transformer": Case(of_model, "transformer"),
    "dcn_v2": Case(of_model, "dcn_v2"),
    "int_tower": Case(of_model, "int_tower"),
    "softmax_kl": Case(of_term, "SoftmaxKL"),
    "tiered": Case(of_term, "TieredContrast"),
    "pairs": Case(of_term, "RankNet"),
    "relaxed": Case(of_term, "RelaxedTopK"),
    "din": Case(of_model, "din"),
    "uncertainty": Case(of_weighting, "uncertainty"),
    "adapter": Case(of_adapter, "perceptron"),
    "small_tables": Case(of_small_tables, "small_tables"),
    "l2_adagrad": Case(of_regularised, "rowwise_adagrad"),
    "l2_adam": Case(of_regularised, "sparse_adam"),
    "bfloat16_tables": Case(of_bfloat16, "sparse_adam"),
    "mixed": Case(of_model, "two_tower", precision=torch.bfloat16),
    "online": Case(of_online_teacher, ""),
    "buffer": Case(of_moving_buffer, ""),
    "silent": Case(of_model, "two_tower", batch=_silent),
    "without_past": Case(of_model, "transformer", batch=_without_past),
    "refusing": Case(of_model, "two_tower", recorders=(TapeRecorder, _refusing)),
    "failing": Case(of_model, "two_tower", recorders=(_Lazy, _Failing)),
    "four": Case(of_regularised, "sparse_adam", world=4),
}


class _Step(nn.Module):
    """What DDP wraps: a step of the module."""

    def __init__(self, module: RankingModule) -> None:
        super().__init__()
        self.module = module
        self._ddp_params_and_buffers_to_ignore = [f"module.{n}" for n in module._ddp_params_and_buffers_to_ignore]

    def forward(self, batch: Batch) -> Tensor:
        """Returns the loss."""
        return self.module.training_step(batch, 0)


class Run:
    """A training of one rank."""

    def __init__(self, case: Case, rank: int) -> None:
        self.case, self.rank = case, rank
        self.module = case.make(case.name)
        for dropout in (part for part in self.module.modules() if isinstance(part, nn.Dropout)):
            dropout.p = 0.0  # what is drawn depends on the number of rows
        broadcast_tables(table_parameters(self.module))
        self.module.loss.reduce_denominators = mean_over_ranks
        self.stepper = Stepper(self.module, case.precision)
        torch.manual_seed(rank)

    def batch(self, step: int) -> Batch:
        """The own batch of a step, ready."""
        progress = self.module.trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress
        progress.optimizer.step.total.completed = step
        seed = SEEDS[step]
        made = batch_of(serves(self.module), 10 * seed + self.rank, SIZES[(self.rank + seed) % len(SIZES)])
        return self.stepper.prepare(self.case.batch(made, self.rank, seed))

    def eager(self, on_a_device: bool = False) -> dict[str, Any]:
        """Steps as the trainer takes them with DDP."""
        wrapped, losses, found = DistributedDataParallel(_Step(self.module)), [], []
        for step in range(len(SEEDS)):
            batch = self.batch(step)
            with waits() if on_a_device else nullcontext([]) as waited:
                losses.append(self._step(wrapped, batch))
            found += waited
        return {"losses": losses, "state": state_of(self.module), "found": found}

    def _step(self, wrapped: DistributedDataParallel, batch: Batch) -> Tensor:
        self.stepper.optimizer.zero_grad()
        with self.stepper.forward_context():
            loss: Tensor = wrapped(batch)
        loss.backward()
        self.module.on_before_optimizer_step(self.stepper.optimizer)
        self.stepper.optimizer.step()
        self.stepper.schedule.step()
        return loss.detach()

    def captured(self) -> dict[str, Any]:
        """Steps that are recorded."""
        ddp = DistributedDataParallel(_Step(self.module))  # whose hooks do nothing, as its forward pass does not run
        recorder = self.case.recorders[self.rank]()
        watch = StopOnNonFinite("", "student")
        steps = StaticSteps(self.module, self.stepper.optimizer, recorder, watch)
        losses, told, paddings, looked_up = [], [], [], []
        rows: list[int] = []
        for step in range(len(SEEDS)):
            with _counted() as said:
                batch = padded_alike(self.module.made_ready(self.batch(step))[0], self.module.hosts)
                replays, recorded = recorder.replays, recorder.recorded
                with _rows_noted(rows), self.stepper.forward_context():
                    losses.append(steps.take(batch, step)[0].total)
            told.append((recorder.replays > replays, dict(said)))
            paddings.append(batch.padding)
            if recorder.recorded > recorded:
                looked_up.append([*rows])
            self.stepper.schedule.step()
        del ddp
        return {
            "losses": losses,
            "state": state_of(self.module),
            "recorded": steps.num_recorded,
            "replays": recorder.replays,
            "found": recorder.found,
            "told": told,
            "paddings": paddings,
            "collectives": recorder.collectives,
            "looked_up": looked_up,
            "dense": sum(p.numel() for p in dense_parameters(self.module).values()),
            "tables": [tuple(table.shape) for table in table_parameters(self.module)],
        }


@contextmanager
def _rows_noted(rows: list[int]) -> Iterator[None]:
    """Notes how many rows of each table a step looks up within, before those of equal ids are summed."""
    sum_rows = FinishedGradients.sum_rows

    def noted(finished: FinishedGradients) -> None:
        gradients = [table.grad for table in finished._tables if table.grad is not None]
        if not any(gradient.is_coalesced() for gradient in gradients):
            rows[:] = [gradient._indices().shape[1] for gradient in gradients]
        sum_rows(finished)

    with patch.object(FinishedGradients, "sum_rows", noted):
        yield


@contextmanager
def _counted() -> Iterator[Counter[str]]:
    """Counts what the hosts say to each other within."""
    found: Counter[str] = Counter()

    def noting(name: str) -> Callable[..., Any]:
        before = getattr(Hosts, name)

        def noted(self: Hosts, *args: Any) -> Any:
            found[name] += 1
            return before(self, *args)

        return noted

    with patch.multiple(Hosts, **{name: noting(name) for name in ("gathered", "greatest")}):
        yield found


def _train(name: str, rank: int, folder: Path) -> None:
    case = CASES[name]
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/{name}", rank=rank, world_size=case.world)
    found = {"captured": Run(case, rank).captured(), "eager": Run(case, rank).eager()}
    found["on_a_device"] = Run(case, rank).eager(on_a_device=True)
    torch.save(found, folder / f"{name}_{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def _fork(name: str, rank: int, folder: Path) -> int:
    process = os.fork()
    if process:
        return process
    try:
        _train(name, rank, folder)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def main(folder: Path, names: Sequence[str]) -> int:
    """Runs cases one after the other; returns how many ranks failed."""
    failed = 0
    for name in names:
        ranks = [_fork(name, rank, folder) for rank in range(CASES[name].world)]
        failed += sum(os.waitpid(process, 0)[1] != 0 for process in ranks)
    return failed


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
