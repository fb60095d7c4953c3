"""Soft pseudo-labels: a value for pointwise terms, a positive or a negative for all others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax

from distill.batch import Batch, FeatureBlock, Stage
from distill.losses.setting import LossSetting
from distill.losses.terms import (
    JRC,
    Contrastive,
    HardBCE,
    HardMSE,
    LambdaRank,
    ListNet,
    LossInputs,
    LossTerm,
    MultiPositiveSoftmax,
    RankNet,
    SampledSoftmax,
    StageOrder,
    TaskInfo,
)
from distill.sampling import InBatchNegatives, PseudoLabels, StageNegatives
from tests.losses.conftest import InputsFactory

TEACHER = [[-1.0], [-4.0], [-2.0], [-5.0], [-3.0]]  # even the best is unlikely, even the worst not impossible
STAGES = [Stage.EXPOSED, Stage.RANKED, Stage.RANKED, Stage.RECALLED, Stage.RANKED]
CLICK = [TaskInfo("click", 1.0)]
ON_ORDER = [
    RankNet,
    LambdaRank,
    ListNet,
    Contrastive,
    lambda: Contrastive(form="squared"),
    lambda: JRC(alpha=0.0),
    MultiPositiveSoftmax,
    StageOrder,
]


@pytest.fixture
def inputs(make_inputs: InputsFactory, generator: torch.Generator) -> LossInputs:
    """Two requests of an exposed negative and four others, without labels."""
    student = torch.randn(10, 1, dtype=torch.float64, generator=generator)
    own = {"teacher": torch.tensor(TEACHER * 2), "observed": [[s == Stage.EXPOSED] for s in STAGES * 2]}
    given = make_inputs(student.requires_grad_(), [5, 5], stage=STAGES * 2, **own)
    hidden = {name: torch.randn(10, 3, generator=generator) for name in ("request", "candidate")}
    return replace(given, output=replace(given.output, hidden=hidden))


def sampled(inputs: LossInputs, label: str) -> LossInputs:
    """The best of the four becomes a positive, the two worst negatives."""
    sampler = PseudoLabels(top=1, bottom=2, label=label)  # type: ignore[arg-type]
    sampler.setup(LossSetting(CLICK, has_signals=True))
    return replace(inputs, batch=sampler(replace(inputs.batch, signals=inputs.signals), 0))


def ready(make: type[LossTerm]) -> LossTerm:
    term = make()  # type: ignore[call-arg]
    term.setup(LossSetting(CLICK, has_signals=True))
    return term


def test_a_positive_is_one_whatever_its_value(inputs: LossInputs) -> None:
    batch = sampled(inputs, "soft").batch
    assert batch.positive.flatten().tolist() == [False, False, True, False, False] * 2
    assert batch.relevance.flatten().tolist() == [0.0, 0.0, 1.0, 0.0, 0.0] * 2
    values = [0.0, expit(-4.0), expit(-2.0), expit(-5.0), 0.0]
    np.testing.assert_allclose(batch.labels.flatten().numpy(), values * 2, rtol=1e-6)
    fewer = batch.select(torch.tensor([2, 3, 7]))
    assert fewer.positive.flatten().tolist() == [True, False, True]
    assert inputs.batch.relevance is inputs.batch.labels


@pytest.mark.parametrize("make", ON_ORDER)
def test_terms_on_order_and_on_positives_do_not_see_the_value(make: type[LossTerm], inputs: LossInputs) -> None:
    soft, hard = (ready(make)(sampled(inputs, label)).mean() for label in ("soft", "hard"))
    assert soft.item() == hard.item()
    assert soft.item() != 0
    level = torch.zeros_like(inputs.output.logits, requires_grad=True)
    given = replace(inputs, output=replace(inputs.output, logits=level))
    (gradient,) = torch.autograd.grad(ready(make)(sampled(given, "soft")).mean(), level)
    for request in gradient.view(2, 5):
        assert request[2] < 0  # up
        assert request[1] >= 0, "the teacher's second worst is drawn up"
        assert request[3] >= 0, "the teacher's worst is drawn up"


def test_multi_positive_softmax_has_one_positive(inputs: LossInputs) -> None:
    scores = inputs.output.logits.detach().view(2, 5).numpy()
    expected = -log_softmax(scores, axis=1)[:, 2].mean()
    assert ready(MultiPositiveSoftmax)(sampled(inputs, "soft")).mean().item() == pytest.approx(expected)


def test_pointwise_terms_learn_the_value(inputs: LossInputs) -> None:
    given = sampled(inputs, "soft")
    rows = [0, 1, 2, 3, 5, 6, 7, 8]
    s = inputs.output.logits.detach().flatten().numpy()[rows]
    y = np.array([0.0, expit(-4.0), expit(-2.0), expit(-5.0)] * 2)
    bce = -(y * np.log(expit(s)) + (1 - y) * np.log(1 - expit(s))).mean()
    for make in (HardBCE, lambda: JRC(alpha=1.0)):
        assert ready(make)(given).mean().item() == pytest.approx(bce, rel=1e-6)  # type: ignore[arg-type]
    assert ready(HardMSE)(given).mean().item() == pytest.approx(((s - y) ** 2).mean(), rel=1e-6)


def test_positives_of_the_batch_are_the_teachers_best_alone(inputs: LossInputs) -> None:
    given = sampled(inputs, "soft")
    term = SampledSoftmax(buckets=100)
    term.check(CLICK, has_signals=True)
    assert term.acts_on(given.batch, None).nonzero().flatten().tolist() == [2, 7]
    pool = _ready_pool().pool(given.batch)
    assert pool is not None
    assert pool.items.tolist() == [2, 7]


def test_rules_that_follow_keep_what_is_a_positive(inputs: LossInputs) -> None:
    batch = sampled(inputs, "soft").batch
    stages = StageNegatives(stages=["ranked"], per_request=None)
    stages.setup(LossSetting(CLICK, has_signals=True))
    labelled = stages(batch, 0)
    assert labelled.observed.all()
    assert labelled.positive.nonzero()[:, 0].tolist() == [2, 7]
    added = _ready_pool()(labelled, 0)
    assert added.positive.sum() == 2
    assert added.item_id[added.positive.any(1)].tolist() == [2, 7]
    assert _kinds(added) == {(0.0, False), (1.0, True)}


def _ready_pool() -> InBatchNegatives:
    rule = InBatchNegatives(per_request=1)
    missing = FeatureBlock(torch.zeros(1, 0, dtype=torch.int64), torch.zeros(1, 0), {}, {})
    rule.setup(LossSetting(CLICK, has_signals=True, missing_cross=lambda: missing))
    return rule


def _kinds(batch: Batch) -> set[tuple[float, bool]]:
    return set(zip(batch.relevance.flatten().tolist(), batch.positive.flatten().tolist(), strict=True))


def test_a_positive_that_was_not_shown_comes_before_what_was(make_inputs: InputsFactory) -> None:
    student = torch.zeros(3, 1, dtype=torch.float64, requires_grad=True)
    stages = [Stage.RECALLED, Stage.EXPOSED, Stage.EXPOSED]
    given = make_inputs(student, [3], labels=[[1], [0], [0]], stage=stages)
    ready(StageOrder)(given).mean().backward()
    assert student.grad is not None
    np.testing.assert_allclose(student.grad.flatten().numpy(), [-0.5, 0.25, 0.25])
