"""What a model adds to the loss, and its batch statistics, depend on neither the terms nor the number of processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from distill.batch import Batch, TeacherSignals
from distill.features import Features
from distill.losses import CompositeLoss, LossInputs, LossTerm, TaskInfo
from distill.losses.setting import LossSetting
from distill.losses.terms import BernoulliKL, HardBCE
from distill.metrics import MetricSuite
from distill.models import DAT, IntTower, TwoTower
from distill.models.bodies.dnn import DNN
from distill.models.prerankers.fscd import FSCD, CostlySelection
from distill.models.prerankers.similarity import TowerVectors
from distill.models.training_rows import rows_in_training
from distill.ops.ranks import mean_over_ranks
from distill.sampling import Sampling
from distill.sampling.base import Sampler
from distill.sampling.pseudo_labels import PseudoLabels
from distill.sampling.stage_negatives import StageNegatives
from distill.schema import Schema
from distill.signals import SignalSource
from distill.training.lr_schedule import LRSchedule
from distill.training.module import RankingModule, Recipe
from distill.training.optim import OptimizerFactory
from tests.batches import make_batch, make_schema
from tests.models.building import MEAN
from tests.patience import patience

SCHEMA = make_schema().serving_view()
TASKS = [TaskInfo("click", 1.0), TaskInfo("like", 1.0)]
BODY = partial(DNN, hidden_units=[8], norm="none", dropout=0.0, residual=False)
NORMED = partial(DNN, hidden_units=[8, 8], norm="batch", dropout=0.0, residual=False)


VECTORS = TowerVectors(4, "cosine", None)


def _features(schema: Schema) -> Features:
    return Features(schema, 4, 0.5, MEAN)


def _dat(schema: Schema) -> nn.Module:
    return DAT(_features(schema), BODY, VECTORS, None, None, 1.0, "item", 1.0)


def _int_tower(schema: Schema) -> nn.Module:
    return IntTower(_features(schema), [8, 6], 2, 3, 0.0, 1.0, 0.5)


def _fscd(schema: Schema) -> nn.Module:
    selection = CostlySelection([1.0, 1.0, 1.0], None, 0.5, 0.1)
    return FSCD(_features(schema), None, None, True, True, [8], 0.0, selection)


def _batch_norm(schema: Schema) -> nn.Module:
    return TwoTower(_features(schema), NORMED, VECTORS, False, False)


MODELS: dict[str, Callable[[Schema], nn.Module]] = {
    "dat": _dat,
    "int_tower": _int_tower,
    "fscd": _fscd,
    "batch_norm": _batch_norm,
}


def _model(name: str) -> nn.Module:
    torch.manual_seed(1)
    return MODELS[name](SCHEMA)


def _batch() -> Batch:
    """Twelve candidates of four requests; of the last, none is labelled, and of the others some in one task alone."""
    made = make_batch(SCHEMA, (4, 3, 2, 3), seed=3)
    click = torch.tensor([1, 1, 0, 1, 1, 1, 0, 1, 1, 0, 0, 0], dtype=torch.bool)
    like = torch.tensor([1, 0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0], dtype=torch.bool)
    candidate = replace(made.candidate, ids=torch.arange(12).unsqueeze(1) % 2)
    weight = torch.tensor([1, 2, 1, 0.5, 1, 1, 1, 0, 3, 1, 1, 1])
    labels = torch.ones_like(made.labels)
    labels[::3] = 0
    observed = torch.stack([click, like], 1)
    return replace(made, candidate=candidate, weight=weight, labels=labels * observed, observed=observed)


def _loss(**terms: LossTerm) -> CompositeLoss:
    loss = CompositeLoss(terms)
    loss.setup(LossSetting(TASKS, has_signals=True))
    return loss


class _Teacher(SignalSource):
    def forward(self, batch: Batch) -> TeacherSignals:
        rows = batch.num_candidates
        logits = torch.linspace(-2, 2, 2 * rows).view(rows, 2).flip(0)
        return TeacherSignals(logits, torch.ones(rows, dtype=torch.bool), {})


def _penalties(name: str, terms: dict[str, LossTerm], samplers: dict[str, Sampler]) -> tuple[dict[str, Tensor], int]:
    """Penalties and batch statistics after one training step on the batch, and how many rows it scored."""
    sampling = Sampling(samplers)
    sampling.setup(LossSetting(TASKS, has_signals=True))
    module = RankingModule(
        model=_model(name),
        recipe=Recipe(
            loss=_loss(**terms),
            sampling=sampling,
            optimizer=OptimizerFactory(0.1, 0.0, (0.9, 0.999), "rowwise_adagrad", 0.1, 0.0),
            schedule=LRSchedule("constant", 0, 0.0),
            total_steps=10,
        ),
        schema=SCHEMA,
        metrics=MetricSuite({}),
        signals=_Teacher(),
        card={},
        serving=True,
    ).train()
    torch.manual_seed(7)
    module.training_step(_batch(), 0)
    assert module.last_report is not None
    assert module.last_batch is not None
    parts = {part: value for part, value in module.last_report.parts.items() if part.startswith("penalty")}
    running = {key: value for key, value in module.model.named_buffers() if "running" in key}
    return {**parts, **running}, module.last_batch.num_candidates


CONTROL: dict[str, LossTerm] = {"hard": HardBCE()}
RUNS: dict[str, tuple[dict[str, LossTerm], dict[str, Sampler]]] = {
    "distilled": ({"hard": HardBCE(), "soft": BernoulliKL()}, {}),
    "soft_alone": ({"soft": BernoulliKL(rows="unexposed")}, {}),
    "one_task": ({"hard": HardBCE(tasks=["like"])}, {}),
    "pseudo_labelled": (CONTROL, {"pseudo": PseudoLabels(top=1, bottom=1, unexposed=False)}),
    "more_negatives": (CONTROL, {"stage": StageNegatives(stages=["exposed"], per_request=None)}),
}


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("name", MODELS)
def test_a_student_and_its_control_have_the_same_penalty(name: str, run: str) -> None:
    expected, _ = _penalties(name, CONTROL, {})
    found, _ = _penalties(name, *RUNS[run])
    assert expected.keys() == found.keys()
    assert expected
    for part, value in expected.items():
        assert bool(value.any()), part
        torch.testing.assert_close(found[part], value, msg=part)


def test_rows_that_nothing_needs_are_not_scored() -> None:
    assert [_penalties(name, CONTROL, {})[1] for name in MODELS] == [6, 6, 6, 11]
    plain = IntTower(_features(SCHEMA), [8, 6], 2, 3, 0.0, 0.0, 0.5)
    assert not rows_in_training(plain, _batch()).any()


def _shard(batch: Batch, rank: int) -> Batch:
    """The first two requests, or the last two; the first rank has most of the weight."""
    requests = torch.arange(2) + 2 * rank
    rows = torch.isin(batch.request_index, requests).nonzero().flatten()
    part = batch.select(rows)
    return replace(
        part,
        request=batch.request.select(requests),
        request_index=part.request_index - 2 * rank,
        request_id=batch.request_id[requests],
        user_id=batch.user_id[requests],
    )


def _step(model: nn.Module, batch: Batch, loss: CompositeLoss) -> dict[str, Tensor]:
    """Gradients and state after one step on a batch."""
    torch.manual_seed(dist.get_rank() if dist.is_initialized() else 0)
    report = loss(LossInputs(batch, model.train()(batch), None, 0))
    report.total.backward()
    found = {key: torch.zeros_like(p) if p.grad is None else p.grad.to_dense() for key, p in model.named_parameters()}
    return {**found, **{key: value for key, value in model.named_buffers() if "running" in key}, **report.parts}


def _worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    for name in MODELS:
        for case, batch in _cases().items():
            loss = _loss(hard=HardBCE())
            loss.reduce_denominators = mean_over_ranks
            found = _step(_model(name), _shard(batch, rank), loss)
            for value in found.values():
                dist.all_reduce(value)
            if rank == 0:
                torch.save({key: value / 2 for key, value in found.items()}, f"{folder}/{name}_{case}.pt")
    dist.destroy_process_group()


def _cases() -> dict[str, Batch]:
    batch = _batch()
    first = batch.request_index < 2
    return {
        "uneven": batch,
        "one_rank_without_labels": replace(batch, observed=batch.observed & first.unsqueeze(1)),
        "one_rank_without_rows": batch.select(first.nonzero().flatten()),
    }


@pytest.mark.slow
def test_two_processes_have_the_gradients_of_one(tmp_path: Path) -> None:
    workers = mp.spawn(_worker, args=(str(tmp_path),), nprocs=2, join=False, daemon=True)
    deadline = time.monotonic() + patience()
    while not workers.join(timeout=1):
        assert time.monotonic() < deadline, "the processes wait for each other"
    for name in MODELS:
        for case, batch in _cases().items():
            expected = _step(_model(name), batch, _loss(hard=HardBCE()))
            found = torch.load(tmp_path / f"{name}_{case}.pt", weights_only=True)
            assert expected.keys() == found.keys()
            for key, value in expected.items():
                torch.testing.assert_close(found[key], value, atol=1e-6, rtol=1e-4, msg=f"{name} {case} {key}")
