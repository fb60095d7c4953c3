"""The teacher's probability as a label: scaled and clipped before anything else happens to it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit, logit, rel_entr

from distill.errors import ConfigError
from distill.losses.functional.teacher_label import teacher_label
from distill.losses.setting import LossSetting
from distill.losses.terms import BernoulliKL, LogitMSE, ProbMSE, SoftCE

TERMS = [BernoulliKL, SoftCE, LogitMSE, ProbMSE]


@pytest.mark.parametrize(("scale", "clip"), [(0.5, None), (1.0, (0.1, 0.6)), (3.0, (0.0, 0.9)), (2.5, (0.05, 0.99))])
def test_equals_numpy(scale, clip):
    teacher = torch.linspace(-8, 8, 33, dtype=torch.float64)
    low, high = clip or (0.0, 1.0)
    expected = logit(np.clip(scale * expit(teacher.numpy()), low, high))
    np.testing.assert_allclose(teacher_label(teacher, scale, clip).numpy(), expected, rtol=1e-9, atol=1e-9)


def test_small_probabilities_keep_their_digits():
    teacher = torch.tensor([-200.0, -30.0])
    torch.testing.assert_close(teacher_label(teacher, 2.0, (0.0, 0.5)), teacher + np.log(2.0))
    assert bool(teacher_label(torch.tensor([200.0, 1e30]), 1.0, (0.0, 0.999)).isfinite().all())
    assert teacher_label(teacher, 1.0, None) is teacher


@pytest.mark.parametrize("kind", TERMS)
def test_a_term_takes_the_label_in_place_of_the_probability(kind, make_inputs, two_tasks, generator):
    student, teacher = torch.randn(2, 4, 2, dtype=torch.float64, generator=generator).unbind()
    label = torch.from_numpy(logit(np.clip(1.5 * expit(teacher.numpy()), 0.2, 0.7)))
    values = []
    for term, said in ((kind(label_scale=1.5, label_clip=[0.2, 0.7]), teacher), (kind(), label), (kind(), teacher)):
        term.setup(LossSetting(two_tasks, has_signals=True))
        values.append(term(make_inputs(student, [2, 2], teacher=said)).mean().item())
    np.testing.assert_allclose(values[0], values[1], rtol=1e-9)
    assert abs(values[0] - values[2]) > 1e-3


def test_the_temperature_softens_the_label(make_inputs, two_tasks):
    term = BernoulliKL(tasks=["click"], temperature=2.0, label_scale=2.0, label_clip=[0.0, 0.8])
    term.setup(LossSetting(two_tasks, has_signals=True))
    p = expit(logit(0.6) / 2)
    expected = 4 * (rel_entr(p, 0.5) + rel_entr(1 - p, 0.5))
    teacher = torch.full((1, 2), float(logit(0.3)))
    np.testing.assert_allclose(
        term(make_inputs(torch.zeros(1, 2), [1], teacher=teacher)).mean().item(), expected, rtol=1e-5
    )


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"label_scale": 0.0}, "label_scale"),
        ({"label_scale": 2.0}, "at most 1"),
        ({"label_clip": [0.5, 0.5]}, "low < high"),
        ({"label_clip": [0.1, 1.0]}, "high < 1"),
        ({"label_clip": [0.1]}, "low, high"),
    ],
)
def test_labels_that_are_no_probabilities_are_refused(given, found):
    with pytest.raises(ConfigError, match=found):
        SoftCE(**given)
