from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from distill.batch import Batch, TeacherSignals
from distill.errors import ConfigError, SignalError
from distill.signals import CalibratedSignals, SignalSource, fit_calibration
from tests.batches import make_batch, make_schema


@pytest.fixture
def sample() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    true = rng.normal(-1, 1.2, 20_000)
    labels = (rng.random(true.size) < expit(true)).astype(float)
    return true * 2.5 + 0.7, labels, rng.choice([0.0, 1.0, 3.0], true.size)


def apply(knots: torch.nn.Module, logits: np.ndarray) -> np.ndarray:
    return np.asarray(knots(torch.from_numpy(logits)))


def pcoc(logits: np.ndarray, labels: np.ndarray, weight: np.ndarray) -> float:
    return float((weight * expit(logits)).sum() / (weight * labels).sum())


def test_platt_is_a_logistic_regression(sample) -> None:
    logits, labels, weight = sample
    knots = fit_calibration("platt", logits, labels, weight)
    model = LogisticRegression(C=np.inf).fit(logits[:, None], labels, weight)
    expected = logits * model.coef_[0, 0] + model.intercept_[0]
    np.testing.assert_allclose(apply(knots, logits), expected, atol=2e-3)
    assert pcoc(apply(knots, logits), labels, weight) == pytest.approx(1, abs=1e-4)
    assert abs(pcoc(logits, labels, weight) - 1) > 0.02


def test_temperature_only_scales(sample) -> None:
    logits, labels, weight = sample
    mapped = apply(fit_calibration("temperature", logits - 0.7, labels, weight), logits - 0.7)
    np.testing.assert_allclose(mapped, (logits - 0.7) / 2.5, atol=0.1)
    np.testing.assert_allclose(apply(fit_calibration("temperature", logits, labels, weight), np.zeros(1)), [0])


def test_isotonic_follows_scikit_learn_and_never_turns_the_order(sample) -> None:
    logits, labels, weight = sample
    mapped = apply(fit_calibration("isotonic", logits, labels, weight), logits)
    expected = IsotonicRegression().fit(logits, labels, weight).predict(logits)
    middle = (expected > 0.02) & (expected < 0.9)
    assert np.abs(expit(mapped) - expected)[middle].mean() < 0.01
    assert (np.diff(mapped[np.argsort(logits)]) >= 0).all()
    assert pcoc(mapped, labels, weight) == pytest.approx(1, abs=0.01)
    assert np.isfinite(apply(fit_calibration("isotonic", logits, labels, weight), np.array([-1e3, 1e3]))).all()


def test_isotonic_of_scores_that_are_the_wrong_way_round_is_constant() -> None:
    knots = fit_calibration("isotonic", np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 1.0, 0.0, 0.0]), np.ones(4))
    np.testing.assert_allclose(apply(knots, np.array([0.0, 2.5, 9.0])), [0, 0, 0], atol=1e-12)


def test_labels_of_one_kind_and_unknown_methods_are_refused() -> None:
    with pytest.raises(SignalError, match="one kind"):
        fit_calibration("platt", np.zeros(3), np.ones(3), np.ones(3))
    with pytest.raises(SignalError, match="one kind"):
        fit_calibration("platt", np.zeros(2), np.array([0.0, 1.0]), np.array([1.0, 0.0]))
    with pytest.raises(ConfigError, match="isotonic"):
        fit_calibration("beta", np.zeros(2), np.array([0.0, 1.0]), np.ones(2))


class _Fixed(SignalSource):
    @property
    def tasks(self) -> tuple[str, ...]:
        return ("like",)

    def forward(self, batch: Batch) -> TeacherSignals:
        logits = torch.arange(batch.num_candidates * 2, dtype=torch.float32).view(-1, 2)
        valid = torch.arange(batch.num_candidates) != 1
        return TeacherSignals(torch.where(valid[:, None], logits, 0), valid, {"body": torch.ones(1)})


def test_only_the_given_tasks_are_mapped_and_unscored_rows_stay(sample) -> None:
    knots = fit_calibration("platt", *sample)
    batch = make_batch(make_schema())
    source = CalibratedSignals(_Fixed(), {1: knots})
    before, after = _Fixed()(batch), source(batch)
    assert source.tasks == ("like",)
    assert torch.equal(before.logits[:, 0], after.logits[:, 0])
    expected = torch.where(before.valid, knots(before.logits[:, 1]), 0.0)
    assert torch.equal(after.logits[:, 1], expected)
    assert after.logits[1].tolist() == [0, 0]
    assert after.hidden.keys() == {"body"}
    assert not source.state_dict()  # no part of a student's checkpoint
