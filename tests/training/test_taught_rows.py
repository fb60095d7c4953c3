"""Rows that a sample rule adds have the score of a teacher that runs in the step."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hydra import compose
from omegaconf import DictConfig, OmegaConf

from distill.batch import Batch, Origin
from distill.errors import ConfigError
from distill.jobs.fit_plan import FitPlan
from distill.losses import terms
from distill.ops.waiting import as_on_a_device
from distill.sampling import InBatchNegatives, RandomNegatives, Sampler
from distill.signals.checkpoint import CheckpointSignals
from distill.training.module import RankingModule
from tests.models.composing import build, composing
from tests.training.stepping import VIEW, Stepper, batch_of, module_of

MAKE: dict[str, Callable[[bool], Sampler]] = {
    "random": lambda taught: RandomNegatives(taught=taught),
    "in_batch": lambda taught: InBatchNegatives(taught=taught),
}


def _trained_on(name: str, taught: bool, on_a_device: bool = False) -> tuple[Batch, RankingModule]:
    """Takes a step; returns the batch that it learned from."""
    teacher = CheckpointSignals(build("dcn_v2", VIEW))
    module = module_of("two_tower", {"soft": terms.SoftmaxKL()}, {"one": MAKE[name](taught)}, signals=teacher)
    stepper = Stepper(module)
    batch = stepper.prepare(batch_of(True))
    if on_a_device:
        with as_on_a_device():
            stepper.step(batch)
    else:
        stepper.step(batch)
    assert module.last_batch is not None
    return module.last_batch, module


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("on_a_device", [False, True])
def test_the_teacher_scores_what_is_added(name: str, on_a_device: bool) -> None:
    batch, module = _trained_on(name, True, on_a_device)
    added = (batch.origin == Origin.RANDOM_NEGATIVE) | (batch.origin == Origin.IN_BATCH_NEGATIVE)
    assert int(added.sum()) > 3
    assert batch.signals is not None
    assert module.signals is not None
    assert bool(batch.signals.valid.all())
    torch.testing.assert_close(batch.signals.logits, module.signals(batch).logits)
    assert module.last_report is not None
    untaught, other = _trained_on(name, False)
    assert untaught.signals is not None
    rest = (untaught.origin == Origin.RANDOM_NEGATIVE) | (untaught.origin == Origin.IN_BATCH_NEGATIVE)
    assert not untaught.signals.valid[rest].any()
    assert other.last_report is not None
    assert float(other.last_report.total) != pytest.approx(float(module.last_report.total), rel=1e-4)


def _config(*overrides: str) -> DictConfig:
    with composing():
        cfg = compose("config", ["sampling=random_negatives", *overrides])
    resolved: DictConfig = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    resolved.trainer.max_epochs = 1
    if "max_epochs" in resolved.teacher:
        resolved.teacher.max_epochs = 1
    return resolved


@pytest.mark.parametrize(
    "teacher",
    [["teacher=trained", "loss=listwise"], ["teacher=column", "loss=listwise"], ["teacher=cotrained", "loss=pfd"]],
)
def test_a_teacher_that_cannot_be_asked_is_refused(teacher: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"sampling\.random\.taught"):
        FitPlan.of(_config(*teacher, "sampling.random.taught=true"), "student")


def test_the_control_asks_nobody() -> None:
    cfg = _config("teacher=trained", "teacher.signals=online", "sampling.random.taught=true", "loss=pointwise")
    assert FitPlan.of(cfg, "student").sampling["random"]["taught"] is True
    assert FitPlan.of(cfg, "control").sampling["random"]["taught"] is False
