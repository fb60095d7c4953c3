"""Tiers of negatives against their equation, and the forces with which they pull."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from distill.batch import Stage
from distill.errors import ConfigError
from distill.losses import LossInputs, LossSetting, TaskInfo
from distill.losses.terms import TieredContrast, tiered_contrast
from tests.losses.conftest import build_inputs

TASKS = [TaskInfo("click", 1.0), TaskInfo("buy", 0.5)]
STAGES = {"exposed": 3, "ranked": 2, "preranked": 1, "recalled": 0}
SIZES = [9, 6, 7]
N = sum(SIZES)


def given(scale: float = 1.0, rows: slice = slice(None), sizes: Sequence[int] = SIZES) -> LossInputs:
    generator = torch.Generator().manual_seed(5)
    logits = scale * torch.randn(N, 2, dtype=torch.float64, generator=generator)
    stage = torch.arange(N) * 7 % 4
    labels = (torch.rand(N, 2, generator=generator) < 0.4) & (stage == int(Stage.EXPOSED)).unsqueeze(1)
    labels[[3, 10, 20], 0] = True
    weight = torch.rand(N, generator=generator) + 0.5
    observed = (stage == int(Stage.EXPOSED)).unsqueeze(1) | labels
    observed[7, 0] = False
    return build_inputs(
        logits[rows].requires_grad_(),
        sizes,
        labels=labels[rows],
        observed=observed[rows],
        stage=stage[rows],
        weight=weight[rows],
    )


def ready(**others: object) -> TieredContrast:
    term = TieredContrast(**others)  # type: ignore[arg-type]
    term.setup(LossSetting(TASKS))
    return term.double()


def tier_by_hand(inputs: LossInputs, tier: str, task: int, temperature: float) -> tuple[float, np.ndarray]:
    """The loss of a tier and its gradient with respect to the task's logits, in NumPy."""
    batch = inputs.batch
    s = inputs.output.logits.detach()[:, task].numpy() / temperature
    positive = batch.positive[:, task].numpy()
    negative = (batch.stage == STAGES[tier]).numpy() & ~positive
    if tier == "exposed":
        negative &= batch.observed[:, task].numpy()
    seen = np.ones(len(s), dtype=bool) & ~((batch.stage == 3).numpy() & ~batch.observed[:, task].numpy())
    total, mass, gradient = 0.0, 0.0, np.zeros(len(s))
    for request in range(batch.num_requests):
        here = (batch.request_index == request).numpy()
        own, others = np.flatnonzero(here & positive), np.flatnonzero(here & negative)
        if not len(own) or not len(others):
            continue
        weight = batch.weight.numpy()[here & seen].mean()
        for i in own:
            row = np.concatenate([[i], others])
            p = np.exp(s[row]) / np.exp(s[row]).sum()
            total += -weight * np.log(p[0]) / len(own)
            gradient[row] += weight * (p - np.eye(len(row))[0]) / len(own) / temperature
        mass += weight
    return (total / mass, gradient / mass) if mass else (0.0, gradient)


@pytest.mark.parametrize(("harmonise", "most"), [(False, 10.0), (True, 10.0), (True, 1.2)])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_its_value_and_gradient_are_those_of_the_equation(harmonise: bool, most: float, temperature: float) -> None:
    inputs = given(scale=3.0)
    term = ready(temperature=temperature, harmonise=harmonise, most=most)
    value = term(inputs).mean()
    value.backward()
    expected, gradient = 0.0, np.zeros((N, 2))
    for task, weight in enumerate([1.0, 0.5]):
        losses, gradients = zip(*[tier_by_hand(inputs, tier, task, temperature) for tier in STAGES], strict=True)
        norms = np.array([np.linalg.norm(g) for g in gradients])
        pulls = norms > 0
        factors = np.ones(len(norms))
        if harmonise:
            factors[pulls] = np.minimum(norms[pulls].mean() / norms[pulls], most)
        expected += weight / 4 * float(factors @ np.array(losses))
        gradient[:, task] += weight / 4 * factors @ np.array(gradients)
    assert value.item() == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(inputs.output.logits.grad, gradient, rtol=1e-6, atol=1e-12)


def forces(term: TieredContrast, logits: Tensor, inputs: LossInputs) -> list[float]:
    """The norm of each tier's own gradient within the term, of the first task."""
    sums = term(inputs)
    means = sums.weights * sums.numerators / sums.denominators
    return [float(torch.autograd.grad(m, logits, retain_graph=True)[0].norm()) for m in means.view(4, 2)[:, 0]]


def test_all_tiers_pull_alike_however_far_they_are_learned() -> None:
    inputs = given()
    logits = inputs.output.logits
    with torch.no_grad():  # the recalled ones are learned, the exposed ones turned round
        logits -= 3.0 * (inputs.batch.stage == 0).unsqueeze(1) * (~inputs.batch.positive)
    alone = forces(ready(harmonise=False), logits, inputs)
    alike = forces(ready(most=1e6), logits, inputs)
    assert max(alone) > 3 * min(alone)
    assert alike == pytest.approx([sum(alone) / 4] * 4, rel=1e-6)


def test_rows_of_no_tier_are_left_out() -> None:
    inputs = given()
    term = ready(tiers=["exposed", "recalled"])
    term(inputs).mean().backward()
    acts = term.acts_on(inputs.batch, None)
    grad = inputs.output.logits.grad
    assert grad is not None
    assert not acts.all()
    assert (grad[~acts] == 0).all()
    assert term.acts_on(inputs.batch, None)[inputs.batch.positive.any(dim=1)].all()


def test_two_processes_pull_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ready()(given())
    parts: list[object] = [None, None]
    told, barrier = [torch.empty(0)] * 2, threading.Barrier(2)

    def process(number: int, rows: slice, sizes: list[int]) -> None:
        def summed(values: Tensor) -> Tensor:
            told[number] = values
            barrier.wait()
            return told[0] + told[1]

        own.summed = summed
        parts[number] = ready()(given(rows=rows, sizes=sizes))

    own = threading.local()
    monkeypatch.setattr(tiered_contrast, "sum_over_ranks", lambda values: own.summed(values))
    threads = [
        threading.Thread(target=process, args=(0, slice(0, 9), [9])),
        threading.Thread(target=process, args=(1, slice(9, N), [6, 7])),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    joined = sum(part.denominators for part in parts)  # type: ignore[attr-defined]
    total = sum(part.mean(joined) for part in parts)  # type: ignore[attr-defined]
    torch.testing.assert_close(total, whole.mean())


def test_a_batch_without_positives_has_no_part_in_it() -> None:
    inputs = build_inputs(torch.randn(4, 2).requires_grad_(), [4], stage=[0, 1, 2, 3])
    term = TieredContrast()
    term.setup(LossSetting(TASKS))
    value = term(inputs).mean()
    value.backward()
    assert value.item() == 0
    assert (inputs.output.logits.grad == 0).all()  # type: ignore[union-attr]


def test_half_precision_is_computed_in_float32() -> None:
    inputs = given()
    half = replace(
        inputs, output=replace(inputs.output, logits=inputs.output.logits.detach().bfloat16().requires_grad_())
    )
    term = TieredContrast()
    term.setup(LossSetting(TASKS))
    sums = term(half)
    assert sums.numerators.dtype == torch.float32
    assert sums.numerators.shape == (8,)
    sums.mean().backward()
    assert half.output.logits.grad is not None
    assert half.output.logits.grad.isfinite().all()


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(ConfigError, match="setup"):
        TieredContrast()(given())
    with pytest.raises(ConfigError, match="tiers"):
        TieredContrast(tiers=["exposed", "nowhere"])
    with pytest.raises(ConfigError, match="twice"):
        TieredContrast(tiers=["ranked", "ranked"])
    with pytest.raises(ConfigError, match="temperature"):
        TieredContrast(temperature=0.0)
    with pytest.raises(ConfigError, match="most"):
        TieredContrast(most=0.5)
    with pytest.raises(ConfigError, match="needs teacher signals"):
        TieredContrast(tiers=["scored"]).check(TASKS, False)
