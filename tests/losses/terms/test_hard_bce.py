import numpy as np
import pytest
import torch

from distill.errors import ConfigError
from distill.losses.terms import HardBCE, TaskInfo


def _bce(logit, label):
    p = 1 / (1 + np.exp(-logit))
    return -np.log(p) if label else -np.log(1 - p)


def test_each_task_is_averaged_over_its_own_observed_rows(make_inputs, two_tasks):
    logits = torch.tensor([[0.5, 1.0], [-1.0, 2.0], [3.0, 0.0]], dtype=torch.float64)
    inputs = make_inputs(
        logits,
        [2, 1],
        labels=[[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]],
        observed=[[True, False], [True, True], [True, False]],
        weight=[1.0, 2.0, 0.5],
    )
    term = HardBCE()
    term.setup(two_tasks, has_signals=False)
    sums = term(inputs)
    click = _bce(0.5, 1) + 2 * _bce(-1.0, 0) + 0.5 * _bce(3.0, 1)
    np.testing.assert_allclose(sums.numerators.numpy(), [click, 2 * _bce(2.0, 1)], rtol=1e-9)
    assert sums.denominators.tolist() == [3.5, 2.0]
    np.testing.assert_allclose(sums.mean().item(), click / 3.5 + 0.5 * _bce(2.0, 1), rtol=1e-9)


def test_a_task_without_observed_rows_counts_as_zero(make_inputs, two_tasks):
    inputs = make_inputs(torch.zeros(2, 2), [2], observed=[[True, False], [True, False]])
    term = HardBCE()
    term.setup(two_tasks, has_signals=False)
    np.testing.assert_allclose(term(inputs).mean().item(), np.log(2), rtol=1e-6)


def test_row_selector_and_observed_mask_both_hold(make_inputs, two_tasks):
    inputs = make_inputs(torch.zeros(3, 2), [3], stage=[3, 3, 2], observed=[[True, True], [False, True], [True, True]])
    term = HardBCE(rows="exposed")
    term.setup(two_tasks, has_signals=False)
    assert term(inputs).denominators.tolist() == [1.0, 2.0]


def test_batch_of_one(make_inputs, two_tasks):
    term = HardBCE()
    term.setup(two_tasks, has_signals=False)
    inputs = make_inputs(torch.tensor([[0.0, 0.0]]), [1], labels=[[1.0, 0.0]])
    np.testing.assert_allclose(term(inputs).mean().item(), 1.5 * np.log(2), rtol=1e-6)


def test_refuses_tasks_that_are_not_binary():
    tasks = [TaskInfo("click", 1.0), TaskInfo("grade", 1.0, "graded")]
    with pytest.raises(ConfigError, match="grade"):
        HardBCE().setup(tasks, has_signals=False)
    HardBCE(tasks=["click"]).setup(tasks, has_signals=False)
