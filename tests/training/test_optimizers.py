from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import nn

from distill.errors import ConfigError
from distill.features import EmbeddingTables, ShardedTables
from distill.training.combined import CombinedOptimizer
from distill.training.lr_schedule import LRSchedule, cycle_ends
from distill.training.optim import OptimizerFactory, dense_parameters, table_parameters
from distill.training.rowwise_adagrad import RowwiseAdagrad
from tests.batches import make_schema


def _factory(**changes: object) -> OptimizerFactory:
    values = {
        "lr": 0.01,
        "weight_decay": 0.1,
        "betas": (0.9, 0.999),
        "embedding": "rowwise_adagrad",
        "embedding_lr": 0.1,
        "clip_norm": 0.0,
    }
    return OptimizerFactory(**{**values, **changes})  # type: ignore[arg-type]


def test_rowwise_adagrad_equals_its_formula_over_steps() -> None:
    weight = nn.Parameter(torch.randn(5, 3, dtype=torch.float64))
    expected, total = weight.detach().numpy().copy(), np.zeros(5)
    optimizer = RowwiseAdagrad([weight], lr=0.3, eps=1e-8)
    for ids in ([0, 2, 2], [2, 4, 0]):
        optimizer.zero_grad()
        rows = nn.functional.embedding(torch.tensor(ids), weight, sparse=True)
        (rows * torch.arange(1.0, 10.0, dtype=torch.float64).view(3, 3)).sum().backward()
        grad = np.zeros((5, 3))
        np.add.at(grad, ids, np.arange(1.0, 10.0).reshape(3, 3))
        touched = sorted(set(ids))
        total[touched] += (grad[touched] ** 2).mean(1)
        expected[touched] -= 0.3 * grad[touched] / (np.sqrt(total[touched]) + 1e-8)[:, None]
        optimizer.step()
    np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=1e-6)


def test_rowwise_adagrad_leaves_other_rows_alone_and_refuses_dense_gradients() -> None:
    weight = nn.Parameter(torch.ones(4, 2))
    optimizer = RowwiseAdagrad([weight])
    nn.functional.embedding(torch.tensor([1]), weight, sparse=True).sum().backward()
    optimizer.step()
    assert torch.equal(weight[[0, 2, 3]], torch.ones(3, 2))
    weight.grad = torch.ones(4, 2)
    with pytest.raises(ConfigError, match="sparse"):
        optimizer.step()


class _Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tables = EmbeddingTables(make_schema(), 4)
        self.linear = nn.Linear(4, 1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.linear(self.tables.rows(4, ids)).sum()


@pytest.mark.parametrize("embedding", ["rowwise_adagrad", "sparse_adam"])
def test_every_parameter_is_in_exactly_one_optimiser_and_moves(embedding: str) -> None:
    model = _Model()
    optimizer = _factory(embedding=embedding).build(model)
    listed = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in model.parameters())
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    model(torch.tensor([1, 2])).backward()
    optimizer.step()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"tables.weights.4", "linear.weight", "linear.bias"}


def test_weight_decay_spares_biases() -> None:
    groups = _factory().build(_Model()).optimizers["dense"].param_groups
    assert [(g["weight_decay"], [p.dim() for p in g["params"]]) for g in groups] == [(0.1, [2]), (0.0, [1])]


def test_state_survives_a_round_trip_and_a_schedule_scales_all_groups() -> None:
    torch.manual_seed(0)
    first = _Model()
    optimizer = _factory().build(first)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    model = _Model()
    model.load_state_dict(first.state_dict())
    for _ in range(2):
        optimizer.zero_grad()
        first(torch.tensor([1, 2])).backward()
        optimizer.step()
        schedule.step()
    assert {group["lr"] for group in optimizer.optimizers["tables"].param_groups} == {0.1 * 0.25}
    other = _Model()
    other.load_state_dict(first.state_dict())
    restored = _factory().build(other)
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for module, optim in ((first, optimizer), (other, restored)):
        optim.zero_grad()
        module(torch.tensor([2, 3])).backward()
        optim.step()
    for a, b in zip(first.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
    assert isinstance(restored, CombinedOptimizer)


def test_table_parameters_leaves_frozen_tables_out() -> None:
    model = _Model()
    assert len(table_parameters(model)) == 2
    model.requires_grad_(False)
    assert table_parameters(model) == []


@pytest.mark.parametrize("change", [{"embedding": "sgd"}, {"lr": 0.0}, {"clip_norm": -1.0}])
def test_values_out_of_range_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="optimizer"):
        _factory(**change)


def test_learning_rate_factors() -> None:
    cosine = LRSchedule("cosine", 2, 0.1)
    assert [cosine.factor(s, 12) for s in (0, 1, 2)] == [0.5, 1.0, 1.0]
    assert cosine.factor(7, 12) == pytest.approx(0.55)
    assert cosine.factor(12, 12) == cosine.factor(99, 12) == pytest.approx(0.1)
    assert LRSchedule("linear", 0, 0.0).factor(5, 10) == pytest.approx(0.5)
    assert LRSchedule("constant", 0, 0.0).factor(5, 10) == 1.0


def test_restarts_are_cosines_each_twice_as_long() -> None:
    schedule = LRSchedule("restarts", 0, 0.1)
    assert [cycle_ends(epochs) for epochs in (1, 2, 3, 4, 7, 8, 31)] == [
        [1], [2], [1, 3], [1, 4], [1, 3, 7], [1, 3, 8], [1, 3, 7, 15, 31],
    ]  # fmt: skip
    found = [schedule.factor(step, 70, 10) for step in range(71)]
    assert [step for step, factor in enumerate(found) if factor == 1.0] == [0, 10, 30]
    assert found[5] == found[20] == found[50] == pytest.approx(0.55)
    cosine = LRSchedule("cosine", 0, 0.1)
    assert found[30:70] == [cosine.factor(step, 40) for step in range(40)]
    assert found[70] == pytest.approx(0.1)
    assert found[:30] == [schedule.factor(step, 30, 10) for step in range(30)]  # whatever comes behind
    warm = LRSchedule("restarts", 4, 0.1)
    assert [warm.factor(step, 70, 10) for step in (0, 3, 4)] == [0.25, 1.0, 1.0]
    assert warm.factor(10, 70, 10) == 1.0


def test_restarts_are_of_epochs_though_steps_end_the_training() -> None:
    schedule = LRSchedule("restarts", 0, 0.1)
    assert [cycle_ends(steps, 10) for steps in (5, 10, 25, 30, 55, 70)] == [[1], [1], [1, 3], [1, 3], [1, 6], [1, 3, 7]]
    found = [schedule.factor(step, 55, 10) for step in range(56)]
    assert [step for step, factor in enumerate(found) if factor == 1.0] == [0, 10]
    assert found[:10] == [schedule.factor(step, 700, 10) for step in range(10)]
    assert found[55] == pytest.approx(0.1)
    with pytest.raises(ConfigError, match="step"):
        LRSchedule("step", 0, 0.0)  # type: ignore[arg-type]


class _Divided(ShardedTables):
    """Stands for tables that TorchRec divides: what their optimiser asks of them, without TorchRec."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.sums = [torch.zeros(5), torch.zeros(3)]
        self.updates: list[tuple[float, float]] = []
        self.forgotten = 0

    widths = (4, 8)  # type: ignore[assignment]
    num_weights = 44  # type: ignore[assignment]

    def apply_gradients(self, lr: float, eps: float) -> None:
        self.updates.append((lr, eps))

    def forget_gradients(self) -> None:
        self.forgotten += 1

    def accumulators(self) -> list[torch.Tensor]:
        return [total.clone() for total in self.sums]

    def load_accumulators(self, whole: Mapping[int, torch.Tensor]) -> None:
        self.sums = [whole[index] for index in range(len(self.sums))]


class _WithDivided(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tables = _Divided()
        self.dense = nn.Linear(2, 1)


def test_sharded_tables_are_one_of_the_optimisers_and_their_state_has_the_names_of_whole_ones() -> None:
    module = _WithDivided()
    optimizer = _factory().build(module)
    module.dense(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert module.tables.updates == [(0.1, 1e-8)]
    state = optimizer.state_dict()
    (group,) = state["tables"]["param_groups"]
    assert group["param_names"] == ["tables.weights.4", "tables.weights.8"]
    assert [group["lr"], group["params"]] == [0.1, [0, 1]]
    state["tables"]["state"][0]["sum"] = torch.ones(5)
    group["lr"] = 0.05
    other = _WithDivided()
    resumed = _factory().build(other)
    resumed.load_state_dict(state)
    assert torch.equal(other.tables.sums[0], torch.ones(5))
    resumed.step()
    assert other.tables.updates == [(0.05, 1e-8)]
    assert resumed.state_dict()["tables"]["param_groups"] == [group]


def test_a_step_that_is_withheld_leaves_sharded_tables_as_they_are() -> None:
    module = _WithDivided()
    optimizer = _factory().build(module)
    optimizer.withhold(torch.ones(()))
    optimizer.step()
    assert (module.tables.updates, module.tables.forgotten) == ([], 1)
    optimizer.withhold(torch.zeros(()))
    optimizer.step()
    assert len(module.tables.updates) == 1


def test_dense_parameters_are_those_that_learn_outside_tables() -> None:
    model = nn.ModuleDict(
        {"tables": EmbeddingTables(make_schema(), 4, 0.05), "head": nn.Linear(2, 1), "frozen": nn.Linear(2, 1)}
    )
    model["frozen"].requires_grad_(False)
    assert list(dense_parameters(model)) == ["head.weight", "head.bias"]
    model["tables"].requires_grad_(False)
    assert list(dense_parameters(model)) == ["head.weight", "head.bias"]
