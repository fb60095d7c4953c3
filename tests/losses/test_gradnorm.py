"""GradNorm against its equations, on models whose gradients can be written down."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distill.errors import ConfigError
from distill.losses import CompositeLoss, GradNorm, LossInputs, LossSetting, TaskInfo, TeacherAdapter, Warmup
from distill.losses.terms import BernoulliKL, HardBCE, LogitMSE, LossTerm
from tests.losses.conftest import build_inputs

TASKS = [TaskInfo("click", 1.0)]
ROWS, WIDTH = 12, 3


class World:
    """A linear model on fixed rows, with labels, and a teacher whose logits are of another scale."""

    def __init__(self, scale: float = 30.0) -> None:
        generator = torch.Generator().manual_seed(2)
        self.features = torch.randn(ROWS, WIDTH, dtype=torch.float64, generator=generator)
        self.teacher = scale * torch.randn(ROWS, 1, dtype=torch.float64, generator=generator)
        self.labels = (torch.rand(ROWS, 1, generator=generator) < 0.5).double()
        self.map = nn.Parameter(torch.randn(WIDTH, 1, dtype=torch.float64, generator=generator))

    def inputs(self, step: int = 0, rows: slice = slice(None)) -> LossInputs:
        logits = self.features[rows] @ self.map
        found = build_inputs(logits, [len(logits)], teacher=self.teacher[rows], labels=self.labels[rows], step=step)
        return replace(found, parameters={"map": self.map})


def loss_of(gradnorm: GradNorm, terms: Mapping[str, LossTerm] | None = None, **others: object) -> CompositeLoss:
    found = {"hard": HardBCE(), "mse": LogitMSE()} if terms is None else terms
    loss = CompositeLoss(found, weighting=gradnorm, **others)  # type: ignore[arg-type]
    loss.setup(LossSetting(TASKS, has_signals=True, total_steps=10))
    return loss.double()


def in_numpy(world: World, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Losses and gradient norms of the two terms."""
    x, t, y = world.features.numpy(), world.teacher.numpy()[:, 0], world.labels.numpy()[:, 0]
    s = x @ w
    p = 1 / (1 + np.exp(-s))
    losses = np.array([np.mean(-y * np.log(p) - (1 - y) * np.log(1 - p)), np.mean((s - t) ** 2)])
    gradients = [x.T @ (p - y) / ROWS, x.T @ (2 * (s - t)) / ROWS]
    return losses, np.array([np.linalg.norm(g) for g in gradients])


def test_steps_follow_the_equations() -> None:
    """Five steps on a model that learns meanwhile: G_i, r_i, the sign of the L1 loss, Adam and the constant sum."""
    world, alpha, rate = World(), 0.7, 0.05
    loss = loss_of(gradnorm := GradNorm(alpha=alpha, rate=rate))
    log_w, m, v, first = np.zeros(2), np.zeros(2), np.zeros(2), None
    for step in range(5):
        losses, norms = in_numpy(world, world.map.detach().numpy()[:, 0])
        first = losses if first is None else first
        report = loss(world.inputs(step))
        assert report.total.item() == pytest.approx(float(np.exp(log_w) @ losses), rel=1e-9)
        sizes = np.exp(log_w) * norms
        pace = losses / first / np.mean(losses / first)
        gradient = np.sign(sizes - sizes.mean() * pace**alpha) * sizes / sizes.mean()
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        log_w = log_w - rate * (m / (1 - 0.9 ** (step + 1))) / (np.sqrt(v / (1 - 0.999 ** (step + 1))) + 1e-8)
        log_w = log_w - np.log(np.exp(log_w).mean())
        np.testing.assert_allclose(gradnorm.log_weights, log_w, rtol=1e-6)
        with torch.no_grad():
            world.map -= 0.01 * torch.autograd.grad(report.total, world.map)[0]
    assert float(gradnorm.log_weights.exp().sum()) == pytest.approx(2.0)


def balanced(alpha: float, weights: tuple[float, float], steps: int = 500) -> np.ndarray:
    """Sizes of the two gradients in the total, once the weights have settled."""
    world = World()
    terms = {"hard": HardBCE(weight=weights[0]), "mse": LogitMSE(weight=weights[1])}
    loss = loss_of(GradNorm(alpha=alpha, rate=0.025), terms)
    for _ in range(steps):
        report = loss(world.inputs())
    _, norms = in_numpy(world, world.map.detach().numpy()[:, 0])
    return np.array([float(report.weights["hard"]), float(report.weights["mse"])]) * norms


def test_terms_of_different_scale_end_balanced() -> None:
    _, norms = in_numpy(World(), World().map.detach().numpy()[:, 0])
    assert norms[1] > 50 * norms[0]
    ends = balanced(0.0, (1.0, 1.0))
    assert ends[0] == pytest.approx(ends[1], rel=0.1)


def test_given_weights_are_the_shares_of_the_gradient() -> None:
    ends = balanced(0.0, (3.0, 1.0))
    assert ends[0] == pytest.approx(3 * ends[1], rel=0.1)


def test_a_term_that_is_behind_is_pulled() -> None:
    """Of two terms with one gradient the one that has come down less gets more with α, and none without."""

    def share(alpha: float) -> float:
        gradnorm = GradNorm(alpha=alpha)
        gradnorm.start(["near", "far"])
        gradnorm.double()
        for step in range(300):
            losses = torch.tensor([1.0, 1.0] if step == 0 else [0.1, 0.9], dtype=torch.float64)
            gradnorm._step(losses, torch.ones(2, dtype=torch.float64), torch.ones(2, dtype=torch.bool))
        weights = gradnorm.weights()
        return float(weights["far"] / weights["near"])

    assert share(0.0) == pytest.approx(1.0, rel=0.05)
    assert share(1.0) == pytest.approx(9.0, rel=0.1)


def test_it_goes_on_from_its_state_as_if_it_had_never_stopped() -> None:
    world, whole = World(), loss_of(GradNorm())
    for _ in range(3):
        whole(world.inputs())
    cut = loss_of(GradNorm())
    cut.load_state_dict(whole.state_dict())
    for _ in range(3):
        one, other = whole(world.inputs()), cut(world.inputs())
        assert torch.equal(one.total, other.total)
    assert all(torch.equal(value, cut.state_dict()[name]) for name, value in whole.state_dict().items())


def test_a_term_that_is_not_there_yet_keeps_its_place() -> None:
    world = World()
    loss = loss_of(gradnorm := GradNorm(), {"hard": HardBCE(), "mse": LogitMSE(weight=Warmup(1.0, 2))})
    loss(world.inputs(step=0))
    assert gradnorm.log_weights.tolist() == [0.0, 0.0]
    assert gradnorm.first[1].isnan()
    loss(world.inputs(step=2))
    assert gradnorm.log_weights[0] > 0 > gradnorm.log_weights[1]


def test_a_term_that_is_not_finite_at_a_step_takes_no_part_in_it() -> None:
    world = World()
    loss = loss_of(gradnorm := GradNorm())
    loss(world.inputs())
    before = {name: value.clone() for name, value in gradnorm.state_dict().items()}
    world.teacher[0] = torch.inf
    loss(world.inputs())
    after = gradnorm.state_dict()
    assert after["log_weights"].isfinite().all()
    assert torch.equal(after["moments"][:, 1], before["moments"][:, 1])
    assert after["steps"].tolist() == [2.0, 1.0]


def test_weights_do_not_move_outside_training_and_the_adapter_has_none() -> None:
    world = World()
    terms = {"hard": HardBCE(), "soft": BernoulliKL()}
    loss = loss_of(gradnorm := GradNorm(), terms, adapter=TeacherAdapter())
    report = loss.eval()(world.inputs())
    assert gradnorm.log_weights.tolist() == [0.0, 0.0]
    loss.train()(world.inputs())
    assert gradnorm.log_weights.tolist() != [0.0, 0.0]
    assert float(loss(world.inputs()).weights["adapter"]) == float(report.weights["adapter"]) == 1.0


def test_the_pattern_says_of_which_weights_gradients_are_taken() -> None:
    world = World()
    other = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    inputs = world.inputs()
    with_more = replace(inputs, parameters={"tower.map": world.map, "head.bias": other})
    whole, part = loss_of(one := GradNorm()), loss_of(two := GradNorm(parameters="tower.*"))
    whole(inputs)
    part(with_more)
    assert torch.equal(one.log_weights, two.log_weights)
    with pytest.raises(ConfigError, match=r"GradNorm\.parameters"):
        loss_of(GradNorm(parameters="nothing*"))(with_more)


def test_processes_find_the_weights_of_one() -> None:
    """Each has some of the rows; the norm is that of the gradient of all of them, not the mean of norms."""
    whole = loss_of(one := GradNorm())
    whole(World().inputs())
    found: list[Tensor | None] = [None, None]
    told, barrier = [torch.empty(0)] * 2, threading.Barrier(2)

    def process(number: int, rows: slice) -> None:
        def mean(values: Tensor) -> Tensor:
            told[number] = values.detach()
            barrier.wait()
            result = (told[0] + told[1]) / 2
            barrier.wait()
            return result

        loss = loss_of(own := GradNorm())
        loss.reduce_denominators = mean
        loss(World().inputs(rows=rows))
        found[number] = torch.cat([own.log_weights, own.first])

    threads = [threading.Thread(target=process, args=(i, rows)) for i, rows in enumerate([slice(0, 4), slice(4, ROWS)])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for of_process in found:
        torch.testing.assert_close(of_process, torch.cat([one.log_weights, one.first]))


def test_what_cannot_work_is_refused() -> None:
    for bad in ({"alpha": -1.0}, {"rate": 0.0}):
        with pytest.raises(ConfigError, match="GradNorm"):
            GradNorm(**bad)  # type: ignore[arg-type]
