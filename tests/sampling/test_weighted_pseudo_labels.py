"""Pseudo-labels of every unexposed candidate, weighted by what the teacher is sure of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from distill.batch import Origin, TeacherSignals
from distill.errors import ConfigError, SignalError
from distill.losses import CompositeLoss, LossInputs
from distill.losses.setting import LossSetting
from distill.losses.terms import HardBCE
from distill.models.prerankers.base import PreRanker
from distill.sampling import WeightedPseudoLabels
from distill.sampling.weighted_pseudo_labels import Confidence
from tests.batches import make_schema
from tests.models.composing import build
from tests.sampling.test_sampling import LIKE_TAUGHT, SIZES, TASKS, TEACHER, labels_of, make, with_signals

P = 1 / (1 + np.exp(-TEACHER.double().numpy()))
CLICKS = range(2, 9)  # the first two are exposed


def ready(**options: object) -> WeightedPseudoLabels:
    sampler = WeightedPseudoLabels(**options)  # type: ignore[arg-type]
    sampler.setup(LossSetting(TASKS, has_signals=True))
    return sampler


def _confidence(kind: Confidence, row: int, task: int) -> float:
    p = P[row, task]
    if kind == "entropy":
        return float(1 + p * np.log2(p) + (1 - p) * np.log2(1 - p))
    if kind == "margin":
        return float(abs(2 * p - 1))
    if kind == "none":
        return 1.0
    request = np.repeat(np.arange(4), SIZES)
    others = [i for i in CLICKS if request[i] == request[row]]
    z = TEACHER.double().numpy()[:, task]
    return float(abs(2 / (1 + np.exp(-(z[row] - z[others].mean()))) - 1))


@pytest.mark.parametrize("kind", ["entropy", "margin", "request", "none"])
def test_weights_are_those_of_the_equation(kind: Confidence) -> None:
    found = ready(tasks=["click"], weight=0.5, confidence=kind)(with_signals(make()), 0)
    sure = {row: _confidence(kind, row, 0) for row in CLICKS}
    labelled = {row: c for row, c in sure.items() if c > 1e-9}
    assert (set(sure) - set(labelled)) == {"entropy": {7}, "margin": {7}, "request": {8}, "none": set()}[kind]
    assert labels_of(found, 0) == pytest.approx({0: 0, 1: 0, **{row: P[row, 0] for row in labelled}}, abs=1e-6)
    expected = [1.0, 1.0, *(0.5 * labelled.get(row, 2.0) for row in CLICKS)]
    assert found.weight.tolist() == pytest.approx(expected, abs=1e-6)
    assert labels_of(found, 1) == {0: 0}


def test_the_weight_of_a_row_is_the_mean_of_its_tasks_and_a_half_makes_a_positive() -> None:
    found = ready(confidence="margin", min_confidence=0.1)(with_signals(make()), 0)
    assert labels_of(found, 1) == pytest.approx({0: 0, **{r: P[r, 1] for r in (2, 3, 5, 6, 7, 8)}}, abs=1e-6)
    both = (abs(2 * P[2, 0] - 1) + abs(2 * P[2, 1] - 1)) / 2
    assert float(found.weight[2]) == pytest.approx(both, abs=1e-6)
    assert float(found.weight[4]) == pytest.approx(abs(2 * P[4, 0] - 1), abs=1e-6)  # of one task alone
    assert found.grades is not None
    assert found.grades[2:, 0].tolist() == [1, 0, 1, 0, 1, 0, 1]
    origins = [Origin.PSEUDO_POSITIVE if row != 5 else Origin.PSEUDO_NEGATIVE for row in CLICKS]
    assert found.origin[2:].tolist() == [int(o) for o in origins]


def test_labels_of_the_log_rows_without_a_score_and_padding_are_left_alone() -> None:
    valid, weight = torch.ones(9, dtype=torch.bool), torch.ones(9)
    valid[4], weight[8] = False, 0.0
    rule = ready(tasks=["click"], confidence="none", weight=0.5)
    batch = with_signals(make(weight=weight, labels=torch.ones(9, 2)), valid)
    found = rule(batch, 0)
    assert set(labels_of(found, 0)) == {0, 1, 2, 3, 5, 6, 7}
    assert found.labels[:2, 0].tolist() == [1, 1]
    assert found.weight.tolist() == [1, 1, 0.5, 0.5, 1, 0.5, 0.5, 0.5, 0]
    exposed = ready(tasks=["like"], confidence="none", unexposed=False)(with_signals(make()), 0)
    assert set(labels_of(exposed, 1)) == set(range(9))
    assert exposed.weight.tolist() == [1.0] * 9
    with pytest.raises(SignalError, match="without signals"):
        rule(make(), 0)


def test_two_terms_are_the_loss_of_the_log_and_that_of_the_others() -> None:
    """L_al(D_e) + λ L_pl(D_u), each a mean by weights of its own."""
    schema = make_schema(("click", "like")).serving_view()
    model = build("two_tower", schema)
    assert isinstance(model, PreRanker)
    batch = make()
    cross = replace(batch.cross, numbers=batch.cross.numbers[:, :1])
    candidate = replace(batch.candidate, ids=batch.candidate.ids[:, :1])
    batch = with_signals(replace(batch, cross=cross, candidate=candidate))
    found = ready(tasks=["click"], confidence="entropy")(batch, 0)
    loss = CompositeLoss({"hard": HardBCE(rows="exposed"), "pseudo": HardBCE(rows="pseudo", weight=0.3)})
    loss.setup(LossSetting(TASKS, has_signals=True))
    output = model(found)
    total = float(loss(LossInputs(found, output, batch.signals, 0)).total.detach())
    z = output.logits.detach().double().numpy()
    bce = lambda y, s: np.log1p(np.exp(s)) - y * s  # noqa: E731
    of_log = bce(0.0, z[:2, 0]).mean() + bce(0.0, z[0, 1])
    sure = np.array([_confidence("entropy", row, 0) for row in CLICKS])
    of_teacher = (sure * bce(P[2:, 0], z[2:, 0])).sum() / sure.sum()
    assert total == pytest.approx(of_log + 0.3 * of_teacher, abs=1e-5)


def test_tasks_that_the_teacher_does_not_score_are_left_out() -> None:
    rule = WeightedPseudoLabels(confidence="request")
    rule.check(LIKE_TAUGHT, has_signals=True)
    nan = torch.where(torch.tensor([True, False]), torch.nan, TEACHER)
    found = rule(replace(make(), signals=TeacherSignals(nan, torch.ones(9, dtype=torch.bool), {})), 0)
    assert labels_of(found, 0) == {0: 0, 1: 0}
    assert bool(found.weight.isfinite().all())


@pytest.mark.parametrize("options", [{"confidence": "sure"}, {"min_confidence": 1.0}, {"weight": 0.0}])
def test_impossible_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        ready(**options)
