"""Time and memory of loss terms on requests of thousands of candidates, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection

import torch

from benchmarks.prepare import peak_memory
from benchmarks.rows import BenchmarkRow
from distill.batch import Batch, FeatureBlock, Origin, RankerOutput, Stage, TeacherSignals
from distill.errors import DataError
from distill.losses import CompositeLoss, LossInputs, LossSetting, TaskInfo
from distill.losses.terms import LossTerm, SampledSoftmax

_TIMEOUT = 1800.0
_WARM = 64  # candidates of a pass before the measured one
_STUDENT, _TEACHER = 64, 128  # widths of hidden vectors
_POSITIVES = 0.02


def measure_long_lists(terms: Mapping[str, LossTerm], candidates: Sequence[int]) -> list[BenchmarkRow]:
    """Measures the forward and backward pass of each term on one request, with one thread.

    A term on positives of a batch gets as many requests of one positive.

    Args:
        terms: Name to term.
        candidates: Of the request.

    Returns:
        Seconds, and the bytes by which the peak of the process's memory rose, of each term and length.

    Raises:
        DataError: A measurement fails.
    """
    rows = []
    for name, term in terms.items():
        for count in candidates:
            seconds, peak = _apart(term, count)
            rows.append(BenchmarkRow(f"losses/{name}/{count:,} candidates", seconds, "s"))
            rows.append(BenchmarkRow(f"losses/{name}/{count:,} candidates/memory", peak / 1e6, "MB more"))
    return rows


def _apart(term: LossTerm, count: int) -> tuple[float, float]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_measure_and_tell, args=(term, count, there), daemon=True)
    process.start()
    there.close()
    try:
        found: tuple[float, float] = here.recv() if here.poll(_TIMEOUT) else (-1.0, -1.0)
    except EOFError:
        found = (-1.0, -1.0)
    finally:
        process.kill()
        process.join()
    if found[0] < 0:
        raise DataError("A measurement failed.", where=f"{type(term).__name__}, {count:,} candidates")
    return found


def _measure_and_tell(term: LossTerm, count: int, out: Connection) -> None:
    torch.set_num_threads(1)
    loss = CompositeLoss({"only": term})
    loss.setup(
        LossSetting(
            [TaskInfo("click", 1.0)],
            has_signals=True,
            student_vectors=lambda: {"request": _STUDENT, "candidate": _STUDENT},
            teacher_vectors=lambda: {"body": _TEACHER},
        )
    )
    _pass(loss, _inputs(term, _WARM))
    inputs = _inputs(term, count)
    before, start = peak_memory(), time.perf_counter()
    _pass(loss, inputs)
    out.send((time.perf_counter() - start, float(peak_memory() - before)))


def _pass(loss: CompositeLoss, inputs: LossInputs) -> None:
    torch.autograd.backward(loss(inputs).total)


def _inputs(term: LossTerm, count: int) -> LossInputs:
    generator = torch.Generator().manual_seed(0)
    alone = isinstance(term, SampledSoftmax)
    student, teacher = torch.randn(2, count, 1, generator=generator)
    labels = (torch.rand(count, 1, generator=generator) < (1.0 if alone else _POSITIVES)).float()
    hidden = {
        name: torch.randn(count, _STUDENT, generator=generator).requires_grad_() for name in ("request", "candidate")
    }
    scored = torch.ones(count, dtype=torch.bool)
    signals = TeacherSignals(teacher, scored, {"body": torch.randn(count, _TEACHER, generator=generator)})
    batch = _batch(labels, torch.randint(0, len(Stage), (count,), generator=generator), alone)
    return LossInputs(batch, RankerOutput(student.requires_grad_(), hidden), signals, 0)


def _batch(labels: torch.Tensor, stage: torch.Tensor, alone: bool) -> Batch:
    count = labels.shape[0]
    ids, requests = torch.arange(count), count if alone else 1
    nothing = FeatureBlock(torch.zeros(count, 0, dtype=torch.int64), torch.zeros(count, 0), {}, {})
    return Batch(
        request=nothing.select(torch.arange(requests)),
        candidate=nothing,
        cross=nothing,
        request_index=ids if alone else torch.zeros_like(ids),
        labels=labels,
        observed=torch.ones_like(labels, dtype=torch.bool),
        stage=stage,
        origin=torch.full_like(ids, int(Origin.LOG)),
        weight=torch.ones(count),
        request_id=torch.arange(requests),
        user_id=torch.arange(requests),
        item_id=ids,
        row=ids,
        columns={},
    )
