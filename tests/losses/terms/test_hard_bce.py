import numpy as np
import pytest
import torch

from distill.errors import ConfigError
from distill.losses.setting import LossSetting
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
    term.setup(LossSetting(two_tasks, has_signals=False))
    sums = term(inputs)
    click = _bce(0.5, 1) + 2 * _bce(-1.0, 0) + 0.5 * _bce(3.0, 1)
    np.testing.assert_allclose(sums.numerators.numpy(), [click, 2 * _bce(2.0, 1)], rtol=1e-9)
    assert sums.denominators.tolist() == [3.5, 2.0]
    np.testing.assert_allclose(sums.mean().item(), click / 3.5 + 0.5 * _bce(2.0, 1), rtol=1e-9)


def test_a_task_without_observed_rows_counts_as_zero(make_inputs, two_tasks):
    inputs = make_inputs(torch.zeros(2, 2), [2], observed=[[True, False], [True, False]])
    term = HardBCE()
    term.setup(LossSetting(two_tasks, has_signals=False))
    np.testing.assert_allclose(term(inputs).mean().item(), np.log(2), rtol=1e-6)


def test_row_selector_and_observed_mask_both_hold(make_inputs, two_tasks):
    inputs = make_inputs(torch.zeros(3, 2), [3], stage=[3, 3, 2], observed=[[True, True], [False, True], [True, True]])
    term = HardBCE(rows="exposed")
    term.setup(LossSetting(two_tasks, has_signals=False))
    assert term(inputs).denominators.tolist() == [1.0, 2.0]


def test_batch_of_one(make_inputs, two_tasks):
    term = HardBCE()
    term.setup(LossSetting(two_tasks, has_signals=False))
    inputs = make_inputs(torch.tensor([[0.0, 0.0]]), [1], labels=[[1.0, 0.0]])
    np.testing.assert_allclose(term(inputs).mean().item(), 1.5 * np.log(2), rtol=1e-6)


def test_refuses_tasks_that_are_not_binary():
    tasks = [TaskInfo("click", 1.0), TaskInfo("grade", 1.0, "graded")]
    with pytest.raises(ConfigError, match="grade"):
        HardBCE().setup(LossSetting(tasks, has_signals=False))
    HardBCE(tasks=["click"]).setup(LossSetting(tasks, has_signals=False))


def test_uncertainty_weights_follow_their_equation(make_inputs, two_tasks):
    term = HardBCE(task_weighting="uncertainty")
    plain = HardBCE()
    for each in (term, plain):
        each.setup(LossSetting(two_tasks, has_signals=False))
    inputs = make_inputs(
        torch.tensor([[0.3, -1.0], [1.5, 0.2], [0.0, 2.0]]),
        [3],
        labels=[[1, 0], [0, 1], [1, 1]],
        observed=[[1, 1], [1, 0], [0, 1]],
    )
    means = (plain(inputs).numerators / plain(inputs).denominators).detach()
    assert term(inputs).mean().item() == pytest.approx(plain(inputs).mean().item())
    term.log_variance.data = torch.tensor([0.7, -0.4])
    value = term(inputs).mean()
    weights = torch.tensor([task.weight for task in two_tasks])
    expected = weights * ((-term.log_variance).exp() * means + term.log_variance / 2)
    torch.testing.assert_close(value, expected.sum())
    value.backward()
    torch.testing.assert_close(term.log_variance.grad, weights * (0.5 - (-term.log_variance).exp() * means))


def test_learned_weights_settle_where_twice_the_loss_is_the_variance(make_inputs, two_tasks):
    term = HardBCE(task_weighting="uncertainty")
    term.setup(LossSetting(two_tasks, has_signals=False))
    inputs = make_inputs(torch.tensor([[0.3, -1.0], [1.5, 0.2]]), [2], labels=[[1, 0], [0, 1]])
    optimizer = torch.optim.SGD(term.parameters(), lr=0.5)
    for _ in range(200):
        optimizer.zero_grad()
        term(inputs).mean().backward()
        optimizer.step()
    plain = HardBCE()
    plain.setup(LossSetting(two_tasks, has_signals=False))
    means = plain(inputs).numerators / plain(inputs).denominators
    torch.testing.assert_close(term.log_variance.detach().exp(), 2 * means, rtol=1e-3, atol=0)


def test_refuses_an_unknown_task_weighting():
    with pytest.raises(ConfigError, match="fixed or uncertainty"):
        HardBCE(task_weighting="dynamic")
