import numpy as np
import torch
from scipy.special import expit, rel_entr

from distill.losses.schedule import Linear
from distill.losses.setting import LossSetting
from distill.losses.terms import BernoulliKL


def test_weighted_mean_over_scored_rows_with_a_temperature_by_step(make_inputs, two_tasks, generator):
    student, teacher = torch.randn(2, 4, 2, dtype=torch.float64, generator=generator).unbind()
    weight = np.array([1.0, 0.5, 2.0, 0.0])
    valid = np.array([True, True, False, True])
    term = BernoulliKL(temperature=Linear(1.0, 3.0, steps=10))
    term.setup(LossSetting(two_tasks, has_signals=True))
    for step, temperature in ((0, 1.0), (5, 2.0), (20, 3.0)):
        p, q = (expit(x.numpy() / temperature) for x in (teacher, student))
        values = temperature**2 * (rel_entr(p, q) + rel_entr(1 - p, 1 - q))
        means = (weight * valid) @ values / (weight * valid).sum()
        sums = term(make_inputs(student, [2, 2], teacher=teacher, valid=valid, weight=weight, step=step))
        assert sums.denominators.tolist() == [1.5, 1.5]
        np.testing.assert_allclose(sums.mean().item(), means[0] + 0.5 * means[1], rtol=1e-9)


def test_batch_of_one(make_inputs, two_tasks):
    term = BernoulliKL(tasks=["click"])
    term.setup(LossSetting(two_tasks, has_signals=True))
    inputs = make_inputs(torch.log(torch.tensor([[3.0, 0.0]])), [1], teacher=torch.zeros(1, 2))
    expected = 0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(0.5 / 0.25)
    np.testing.assert_allclose(term(inputs).mean().item(), expected, rtol=1e-6)
