import numpy as np
import pytest
import torch
from scipy.special import expit

from distill.losses.setting import LossSetting
from distill.losses.terms import LogitMSE, ProbMSE


@pytest.mark.parametrize(("kind", "transform"), [(LogitMSE, lambda x: x), (ProbMSE, expit)])
@pytest.mark.parametrize("sizes", [[1], [2, 3]])
def test_weighted_mean_over_selected_rows(kind, transform, sizes, make_inputs, two_tasks, generator):
    num_rows = sum(sizes)
    student, teacher = torch.randn(2, num_rows, 2, dtype=torch.float64, generator=generator).unbind()
    weight = np.arange(1, num_rows + 1) / 2
    stage = np.array([3, 2, 2, 3, 0])[:num_rows]
    term = kind(rows=["exposed", "recalled"])
    term.setup(LossSetting(two_tasks, has_signals=True))
    sums = term(make_inputs(student, sizes, teacher=teacher, weight=weight, stage=stage))
    w = weight * (stage != 2)
    means = w @ (transform(student.numpy()) - transform(teacher.numpy())) ** 2 / w.sum()
    assert sums.denominators.tolist() == [w.sum()] * 2
    np.testing.assert_allclose(sums.mean().item(), means[0] + 0.5 * means[1], rtol=1e-9)
