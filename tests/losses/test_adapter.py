"""An adapter that calibrates a stale teacher while the student learns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from distill.errors import ConfigError
from distill.losses import CompositeLoss, LossInputs, LossSetting, TaskInfo, TeacherAdapter, Warmup
from distill.losses.blame import non_finite_gradients
from distill.losses.terms import BernoulliKL, HardBCE
from tests.losses.conftest import build_inputs

TASKS = [TaskInfo("click", 1.0), TaskInfo("buy", 0.5)]


def loss_of(adapter: TeacherAdapter | None, tasks: list[TaskInfo] = TASKS, **others: object) -> CompositeLoss:
    torch.manual_seed(0)
    loss = CompositeLoss({"hard": HardBCE(), "soft": BernoulliKL()}, adapter=adapter, **others)  # type: ignore[arg-type]
    widths = {"request": 3, "candidate": 3}
    loss.setup(LossSetting(tasks, has_signals=True, total_steps=10, student_vectors=lambda: widths))
    return loss.double()


def given(seed: int = 0, rows: int = 12) -> LossInputs:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, rows, 2, dtype=torch.float64, generator=generator).unbind()
    inputs = build_inputs(
        student.requires_grad_(),
        [rows // 3] * 3,
        teacher=teacher,
        valid=torch.rand(rows, generator=generator) < 0.7,
        labels=(torch.rand(rows, 2, generator=generator) < 0.4).double(),
        observed=torch.rand(rows, 2, generator=generator) < 0.7,
        weight=torch.rand(rows, generator=generator) + 0.5,
    )
    hidden = {"request": torch.randn(rows, 3, dtype=torch.float64, generator=generator).requires_grad_()}
    return replace(inputs, output=replace(inputs.output, hidden=hidden))


def with_values(adapter: TeacherAdapter, scale: list[float], shift: list[float]) -> None:
    assert adapter.log_scale is not None
    assert adapter.shift is not None
    with torch.no_grad():
        adapter.log_scale.copy_(torch.tensor(scale) / adapter.speed)
        adapter.shift.copy_(torch.tensor(shift) / adapter.speed)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def by_hand(inputs: LossInputs, scale: list[float], shift: list[float]) -> tuple[np.ndarray, float]:
    """The adapted logits and the adapter's loss, in NumPy."""
    signals, batch = inputs.signals, inputs.batch
    assert signals is not None
    adapted = np.exp(scale) * signals.logits.numpy() + np.array(shift)
    p, y = sigmoid(adapted), batch.labels.double().numpy()
    entropy = -y * np.log(p) - (1 - y) * np.log(1 - p)
    weight = batch.observed.numpy() * (signals.valid.double() * batch.weight.double()).numpy()[:, None]
    means = (weight * entropy).sum(0) / weight.sum(0)
    return np.where(signals.valid.numpy()[:, None], adapted, signals.logits.numpy()), float(means @ [1.0, 0.5])


def test_the_student_follows_adapted_logits_and_the_adapter_the_labels() -> None:
    scale, shift, inputs = [0.3, -0.5], [0.2, -0.7], given()
    loss = loss_of(adapter := TeacherAdapter())
    with_values(adapter, scale, shift)
    adapted, own = by_hand(inputs, scale, shift)
    report = loss(inputs)
    assert report.parts["adapter"].item() == pytest.approx(own, rel=1e-6)  # its start is in float32
    told = replace(inputs, signals=replace(inputs.signals, logits=torch.from_numpy(adapted)))  # type: ignore[type-var]
    plain = loss_of(None)(told)
    torch.testing.assert_close(report.parts["soft"], plain.parts["soft"], rtol=1e-6, atol=0)
    assert report.total.item() == pytest.approx(plain.total.item() + own, rel=1e-6)


def test_the_gradients_of_student_and_adapter_are_apart() -> None:
    inputs = given()
    loss = loss_of(adapter := TeacherAdapter(hidden_units=[4], vectors=["request"]))
    with_values(adapter, [0.3, -0.5], [0.2, -0.7])
    report = loss(inputs)
    report.total.backward()
    assert adapter.log_scale is not None
    assert adapter.perceptron is not None
    both = adapter.log_scale.grad.clone()  # type: ignore[union-attr]
    assert inputs.output.hidden["request"].grad is None, "the adapter reads the student and does not train it"
    adapter.zero_grad()
    adapter(inputs).mean().backward()
    torch.testing.assert_close(adapter.log_scale.grad, both)
    told = replace(loss.adapted(inputs), output=replace(inputs.output, logits=inputs.output.logits.detach()))
    student = told.output.logits.requires_grad_()
    loss_of(None)(told).total.backward()
    torch.testing.assert_close(student.grad, inputs.output.logits.grad)


@pytest.mark.parametrize("hidden_units", [[], [4]])
def test_it_begins_as_the_identity(hidden_units: list[int]) -> None:
    inputs = given()
    with_adapter = loss_of(TeacherAdapter(hidden_units=hidden_units))(inputs)
    without = loss_of(None)(inputs)
    assert all(torch.equal(with_adapter.parts[name], without.parts[name]) for name in without.parts)


def test_labels_that_sample_rules_made_teach_it_nothing() -> None:
    inputs = given()
    logged = inputs.batch.observed & (torch.arange(12) % 2 == 0).unsqueeze(1)
    made = replace(inputs, batch=replace(inputs.batch, logged=logged))
    of_log = replace(inputs, batch=replace(inputs.batch, observed=logged))
    adapter = loss_of(TeacherAdapter()).adapter
    assert adapter is not None
    assert torch.equal(adapter(made).mean(), adapter(of_log).mean())
    assert not torch.equal(adapter(made).mean(), adapter(inputs).mean())
    assert torch.equal(adapter.acts_on(made.batch, made.signals), logged.any(1) & inputs.signals.valid)  # type: ignore[union-attr]


def test_whoever_reads_adapted_logits_does_not_change_it() -> None:
    inputs, adapter = given(), TeacherAdapter()
    loss_of(adapter)
    adapted = adapter.adapted_logits(inputs)
    assert adapted.requires_grad
    signals = adapter.adapt(inputs, adapted).signals
    assert signals is not None
    assert not signals.logits.requires_grad


def test_tasks_that_it_does_not_adapt_stay_as_the_teacher_says() -> None:
    tasks = [TASKS[0], TaskInfo("buy", 0.5, taught=False)]
    inputs = given()
    assert inputs.signals is not None
    unknown = inputs.signals.logits.clone()
    unknown[:, 1] = torch.nan
    inputs = replace(inputs, signals=replace(inputs.signals, logits=unknown))
    loss = loss_of(adapter := TeacherAdapter(), tasks)
    with_values(adapter, [0.3], [0.2])
    adapted = loss.adapted(inputs).signals
    assert adapted is not None
    assert adapted.logits[:, 1].isnan().all()
    report = loss(inputs)
    report.total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in adapter.parameters())


def test_processes_divide_by_the_rows_of_all() -> None:
    """The mean over two processes of unequal halves is what one would have computed."""

    def gradient(inputs: LossInputs, all_rows: LossInputs) -> Tensor:
        loss = loss_of(adapter := TeacherAdapter())
        whole = loss_of(TeacherAdapter())
        denominators = [t(all_rows).denominators for t in whole.named_terms().values()]
        joined = torch.cat([*denominators, whole.adapter(all_rows).denominators]) / 2  # type: ignore[misc]
        loss.reduce_denominators = lambda own: joined if inputs is not all_rows else own
        loss(inputs).total.backward()
        assert adapter.log_scale is not None
        assert adapter.log_scale.grad is not None
        return adapter.log_scale.grad

    whole = given()

    def part(rows: range) -> LossInputs:
        taken = torch.tensor(rows)
        assert whole.signals is not None
        output = replace(whole.output, logits=whole.output.logits.detach()[taken], hidden={})
        return replace(whole, batch=whole.batch.select(taken), output=output, signals=whole.signals.select(taken))

    halves = [gradient(part(rows), whole) for rows in (range(4), range(4, 12))]
    torch.testing.assert_close(sum(halves) / 2, gradient(whole, whole))


def test_it_finds_the_scale_and_the_shift_of_a_teacher_that_has_aged() -> None:
    generator = torch.Generator().manual_seed(1)
    truth = torch.randn(20_000, 1, generator=generator)
    labels = (torch.rand(20_000, 1, generator=generator) < truth.sigmoid()).float()
    inputs = build_inputs(torch.zeros(20_000, 1), [20_000], teacher=3.0 * truth + 1.0, labels=labels)
    adapter = TeacherAdapter()
    adapter.setup(LossSetting([TaskInfo("click", 1.0)], has_signals=True))
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=0.001, weight_decay=0.0)
    for _ in range(400):
        optimizer.zero_grad()
        adapter(inputs).mean().backward()
        optimizer.step()
    torch.testing.assert_close(adapter.adapted_logits(inputs).detach(), truth, atol=0.15, rtol=0.1)


def test_it_waits_as_long_as_its_weight_is_0() -> None:
    loss = loss_of(adapter := TeacherAdapter(weight=Warmup(1.0, 2)))
    for step, learns in ((0, False), (2, True)):
        adapter.zero_grad()
        report = loss(replace(given(), step=step))
        report.total.backward()
        assert adapter.log_scale is not None
        assert adapter.log_scale.grad is not None
        assert bool((adapter.log_scale.grad != 0).any()) is learns
        assert report.weights["adapter"] == float(learns)


def test_learned_weights_leave_it_alone() -> None:
    inputs = given()
    loss = loss_of(TeacherAdapter(), weighting="uncertainty")
    with torch.no_grad():
        for s in loss.log_variances.values():  # type: ignore[union-attr]
            s.fill_(1.0)
    report = loss(inputs)
    terms = sum(np.exp(-1) * report.parts[name].item() + 0.5 for name in ("hard", "soft"))
    assert report.total.item() == pytest.approx(terms + report.parts["adapter"].item(), rel=1e-6)


def test_what_its_terms_are_blamed_for_is_what_they_were_given() -> None:
    loss = loss_of(adapter := TeacherAdapter())
    with_values(adapter, [0.0, 0.0], [torch.nan, 0.0])
    assert "soft" in non_finite_gradients(loss, given())
    with_values(adapter, [0.0, 0.0], [1.0, 0.0])
    assert non_finite_gradients(loss, given()) == []


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(ConfigError, match="adapter"):
        CompositeLoss({"hard": HardBCE()}, adapter=TeacherAdapter())
    with pytest.raises(ConfigError, match="adapter"):
        CompositeLoss({"adapter": BernoulliKL()}, adapter=TeacherAdapter())
    with pytest.raises(ConfigError, match="hidden_units"):
        TeacherAdapter(vectors=["request"])
    with pytest.raises(ConfigError, match="speed"):
        TeacherAdapter(speed=0.0)
    with pytest.raises(ConfigError, match=r"loss\.adapter.*TeacherAdapter\.vectors"):
        loss_of(TeacherAdapter(hidden_units=[2], vectors=["nothing"]))
    with pytest.raises(ConfigError, match=r"TeacherAdapter\.tasks"):
        TeacherAdapter().check([TaskInfo("stars", 1.0, kind="graded")], True)
    with pytest.raises(ConfigError, match=r"needs teacher signals"):
        TeacherAdapter().check(TASKS, False)
    with pytest.raises(ConfigError, match="setup"):
        TeacherAdapter().adapted_logits(given())
