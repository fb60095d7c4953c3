import numpy as np
import torch

from distill.losses.setting import LossSetting
from distill.losses.terms import HardMSE, TaskInfo


def test_each_task_is_averaged_over_its_own_observed_rows(make_inputs):
    logits = torch.tensor([[0.5, 1.0], [-1.0, 2.0], [3.0, 0.0]], dtype=torch.float64, requires_grad=True)
    inputs = make_inputs(
        logits,
        [2, 1],
        labels=[[4.0, 0.0], [0.0, 1.0], [1.0, 9.0]],
        observed=[[True, False], [True, True], [True, False]],
        weight=[1.0, 2.0, 0.5],
    )
    term = HardMSE()
    term.setup(LossSetting([TaskInfo("grade", 1.0, "graded"), TaskInfo("value", 0.5, "value")], has_signals=False))
    sums = term(inputs)
    np.testing.assert_allclose(sums.numerators.detach().numpy(), [3.5**2 + 2 * 1.0 + 0.5 * 4.0, 2 * 1.0], rtol=1e-12)
    assert sums.denominators.tolist() == [3.5, 2.0]
    sums.mean().backward()
    assert logits.grad[0, 1] == 0  # not observed
    np.testing.assert_allclose(logits.grad[0, 0].item(), 2 * (0.5 - 4.0) / 3.5, rtol=1e-12)


def test_is_zero_on_the_labels_and_for_no_rows(make_inputs):
    term = HardMSE()
    term.setup(LossSetting([TaskInfo("grade", 1.0, "graded")], has_signals=False))
    labels = torch.tensor([[2.0], [0.0]])
    assert term(make_inputs(labels.clone(), [2], labels=labels)).mean().item() == 0
    assert term(make_inputs(labels.clone(), [2], observed=[[False], [False]])).mean().item() == 0
