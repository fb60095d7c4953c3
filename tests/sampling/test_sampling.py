"""Sample rules: which rows get which labels, and that labels of the log stay."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from distill.arguments import gathered
from distill.batch import Batch, Origin, TeacherSignals
from distill.errors import ConfigError, SignalError
from distill.losses.setting import LossSetting, TaskInfo
from distill.sampling import PseudoLabels, Sampling, StageNegatives, Sure
from tests.batches import make_batch, make_schema

TASKS = [TaskInfo("click", 1.0), TaskInfo("like", 1.0)]
LIKE_TAUGHT = [TaskInfo("click", 1.0, taught=False), TaskInfo("like", 1.0)]
SIZES = (6, 2, 0, 1)
STAGE = torch.tensor([3, 3, 2, 2, 1, 0, 2, 0, 1])
TEACHER = torch.tensor([[9.0, 1], [-9, 1], [2, -1], [-1, 3], [3, 0], [-2, -2], [1, 1], [0, 2], [4, 4]])


def make(**changed: Tensor) -> Batch:
    """Nine candidates; the first two are exposed, observed in click and, the first, in like."""
    batch = make_batch(make_schema(("click", "like")), SIZES)
    observed = torch.zeros(9, 2, dtype=torch.bool)
    observed[:2, 0], observed[0, 1] = True, True
    own = {"stage": STAGE, "observed": observed, "labels": torch.zeros(9, 2), "row": torch.arange(9) + 100}
    return replace(batch, **{**own, **changed})


def signals(valid: Tensor | None = None) -> TeacherSignals:
    return TeacherSignals(TEACHER, torch.ones(9, dtype=torch.bool) if valid is None else valid, {})


def with_signals(batch: Batch, valid: Tensor | None = None) -> Batch:
    return replace(batch, signals=signals(valid))


def ready(sampler: PseudoLabels | StageNegatives) -> PseudoLabels | StageNegatives:
    sampler.setup(LossSetting(TASKS, has_signals=True))
    return sampler


def labels_of(batch: Batch, task: int) -> dict[int, float]:
    return {i: float(batch.labels[i, task]) for i in range(9) if batch.observed[i, task]}


def test_best_and_worst_of_each_request_among_those_without_a_label() -> None:
    batch = make()
    found = ready(PseudoLabels(tasks=["click"], top=1, bottom=1))(with_signals(batch), 0)
    assert labels_of(found, 0) == {0: 0, 1: 0, 4: 1, 5: 0, 6: 1, 7: 0, 8: 1}
    assert labels_of(found, 1) == {0: 0}
    expected = [Origin.LOG] * 9
    for rows, origin in (((4, 6, 8), Origin.PSEUDO_POSITIVE), ((5, 7), Origin.PSEUDO_NEGATIVE)):
        for row in rows:
            expected[row] = origin
    assert found.origin.tolist() == [int(o) for o in expected]
    assert found.weight.tolist() == [1.0] * 9


def test_tasks_are_ranked_each_by_its_own_logit_and_exposed_rows_only_if_asked() -> None:
    found = ready(PseudoLabels(top=1, bottom=0))(with_signals(make()), 0)
    assert labels_of(found, 1) == {0: 0, 3: 1, 7: 1, 8: 1}
    every = ready(PseudoLabels(tasks=["like"], top=2, bottom=0, unexposed=False))(with_signals(make()), 0)
    assert labels_of(every, 1) == {0: 0, 1: 1, 3: 1, 6: 1, 7: 1, 8: 1}
    assert every.origin[1] == Origin.LOG  # it has a label of the log


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"top": 0.5, "bottom": 0.25}, {2: 1, 4: 1, 5: 0, 6: 1}),
        ({"top": 0, "bottom": 9}, {2: 0, 3: 0, 4: 0, 5: 0, 6: 0, 7: 0, 8: 0}),
        ({"top": 3, "bottom": 3}, {2: 1, 3: 1, 4: 1, 5: 0, 6: 1, 7: 1, 8: 1}),
        ({"top": 1, "bottom": 1, "min_margin": 2.0}, {4: 1, 5: 0}),
        ({"top": 9, "bottom": 0, "min_probability": 0.9}, {4: 1, 8: 1}),
        ({"top": 0, "bottom": 9, "max_probability": 0.3}, {3: 0, 5: 0}),
        ({"top": 1, "bottom": 1, "label": "soft"}, {4: 3.0, 5: -2.0, 6: 1.0, 7: 0.0, 8: 4.0}),
    ],
)
def test_options(options: dict[str, float], expected: dict[int, float]) -> None:
    found = labels_of(
        ready(PseudoLabels(**gathered(PseudoLabels, {"tasks": ["click"], **options})))(with_signals(make()), 0), 0
    )
    if options.get("label") == "soft":
        expected = {row: float(torch.tensor(logit).sigmoid()) for row, logit in expected.items()}
    assert found == pytest.approx({0: 0, 1: 0, **expected})


def test_rows_that_the_teacher_did_not_score_and_padding_get_nothing() -> None:
    valid = torch.ones(9, dtype=torch.bool)
    valid[4] = False
    weight = torch.ones(9)
    weight[8] = 0.0
    sampler = ready(PseudoLabels(tasks=["click"], top=1, bottom=0, weight=0.5))
    found = sampler(with_signals(make(weight=weight), valid), 0)
    assert labels_of(found, 0) == {0: 0, 1: 0, 2: 1, 6: 1}
    assert found.weight.tolist() == [1, 1, 0.5, 1, 1, 1, 0.5, 1, 0]
    with pytest.raises(SignalError, match="without signals"):
        sampler(make(), 0)


def test_negatives_of_stages() -> None:
    found = ready(StageNegatives(stages=["preranked", "recalled"], per_request=None))(make(), 0)
    assert labels_of(found, 0) == {0: 0, 1: 0, 4: 0, 5: 0, 7: 0, 8: 0}
    assert labels_of(found, 1) == {0: 0, 4: 0, 5: 0, 7: 0, 8: 0}
    assert (found.origin == Origin.STAGE_NEGATIVE).nonzero().flatten().tolist() == [4, 5, 7, 8]


def test_draws_are_uniform_without_replacement_and_depend_on_seed_step_and_row_alone() -> None:
    sampler = ready(StageNegatives(stages=["ranked", "preranked", "recalled"], per_request=2, seed=3))
    counts = torch.zeros(9)
    for step in range(600):
        drawn = sampler(make(), step).origin == Origin.STAGE_NEGATIVE
        assert drawn[:6].sum() == 2
        assert drawn[6:].tolist() == [True, True, True]
        counts += drawn
    assert (counts[2:6] / 600 - 0.5).abs().max() < 0.08  # four deviations
    batch = make()
    again = sampler(batch.select(torch.arange(6)), 5)
    assert torch.equal(again.origin, sampler(batch, 5).origin[:6])
    steps = {tuple(sampler(batch, step).origin.tolist()) for step in range(20)}
    assert len(steps) > 3
    other = ready(StageNegatives(stages=["ranked", "preranked", "recalled"], per_request=2, seed=4))
    assert any(not torch.equal(other(batch, s).origin, sampler(batch, s).origin) for s in range(9))


def test_rules_follow_one_another_and_never_touch_an_observed_label() -> None:
    rules = Sampling({"pseudo": PseudoLabels(top=1, bottom=1), "stages": StageNegatives(per_request=None)})
    rules.setup(LossSetting(TASKS, has_signals=True))
    assert rules.needs_signals
    batch = make(labels=torch.ones(9, 2))
    found = rules(with_signals(batch), 0)
    assert found.labels[batch.observed].tolist() == [1.0] * 3
    assert labels_of(found, 0) == {0: 1, 1: 1, 2: 0, 3: 0, 4: 1, 5: 0, 6: 1, 7: 0, 8: 1}
    assert found.origin[4] == Origin.PSEUDO_POSITIVE
    assert torch.equal(batch.origin, torch.zeros(9, dtype=torch.int64))
    assert not Sampling({}).needs_signals
    assert Sampling({})(batch, 0) is batch


@pytest.mark.parametrize(
    ("build", "where"),
    [
        (lambda: PseudoLabels(top=1.5), "PseudoLabels.top"),
        (lambda: PseudoLabels(top=0, bottom=0), "PseudoLabels.top, PseudoLabels.bottom"),
        (lambda: PseudoLabels(label="probability"), "PseudoLabels.label"),
        (lambda: PseudoLabels(sure=Sure(max_probability=2.0)), "PseudoLabels.max_probability"),
        (lambda: PseudoLabels(weight=0.0), "PseudoLabels.weight"),
        (lambda: StageNegatives(stages=["shown"]), "StageNegatives.stages"),
        (lambda: StageNegatives(per_request=0), "StageNegatives.per_request"),
        (lambda: Sampling({"x": 3}), "sampling.x"),
        (lambda: StageNegatives(tasks=["buy"]).check(TASKS, True), "StageNegatives.tasks"),
        (lambda: PseudoLabels().check(TASKS, False), "PseudoLabels"),
    ],
)
def test_impossible_options_are_refused(build, where) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError) as error:
        build()
    assert error.value.where == where


def test_pseudo_labels_of_the_tasks_that_the_teacher_scores() -> None:
    sampler = PseudoLabels(top=1, bottom=1)
    sampler.check(LIKE_TAUGHT, has_signals=True)
    nan = torch.where(torch.tensor([True, False]), torch.nan, TEACHER)
    batch = replace(make(), signals=TeacherSignals(nan, torch.ones(9, dtype=torch.bool), {}))
    found = sampler(batch, 0)
    assert labels_of(found, 0) == {0: 0, 1: 0}
    assert labels_of(found, 1) == labels_of(ready(PseudoLabels(["like"], top=1, bottom=1))(with_signals(make()), 0), 1)
    with pytest.raises(ConfigError, match=r"does not score(.|\n)*some of like(.|\n)*found: +click"):
        PseudoLabels(tasks=["click"]).check(LIKE_TAUGHT, has_signals=True)
    Sampling({"stages": StageNegatives(tasks=["click"])}).check(LIKE_TAUGHT, has_signals=True)
