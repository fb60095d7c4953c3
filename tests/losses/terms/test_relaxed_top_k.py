"""The relaxed losses of the first candidates against their equations."""

import numpy as np
import pytest
import torch

from distill.errors import ConfigError
from distill.losses.functional.neural_sort import relaxed_top_k
from distill.losses.setting import LossSetting
from distill.losses.terms import JointTopK, NeuralSort, RelaxedTopK, TaskInfo

ONE = torch.zeros(6, dtype=torch.int64)
SIX = torch.tensor([6])


@pytest.fixture
def pair(generator):
    return torch.randn(2, 6, 1, dtype=torch.float64, generator=generator).unbind()


def _value(term, pair, make_inputs):
    term.setup(LossSetting([TaskInfo("click", 1.0)], has_signals=True))
    return term(make_inputs(pair[0], [6], teacher=pair[1])).mean().item()


def _first(scores, keep, temperature, normalise=True):
    return relaxed_top_k(scores[:, 0], ONE, SIX, keep, temperature, normalise)[0].numpy()


@pytest.mark.parametrize("keep", [None, 4])
def test_lcron_lets_the_first_in_and_keeps_the_others_out(keep, pair, make_inputs):
    wanted = (torch.argsort(torch.argsort(-pair[1][:, 0])) < 2).numpy()
    inside = _first(pair[0], keep or 2, 0.5)
    expected = -np.where(wanted, np.log(inside + 1e-6), np.log(1 - inside + 1e-6)).mean()
    found = _value(RelaxedTopK(top=2, keep=keep, temperature=0.5), pair, make_inputs)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_arf_only_lets_the_first_in(pair, make_inputs):
    wanted = (torch.argsort(torch.argsort(-pair[1][:, 0])) < 2).numpy()
    expected = -(np.log(_first(pair[0], 3, 0.5, normalise=False) + 1e-6) * wanted).mean()
    found = _value(RelaxedTopK(top=2, keep=3, temperature=0.5, form="arf"), pair, make_inputs)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_joint_passes_both_stages(pair, make_inputs):
    wanted = (torch.argsort(torch.argsort(-pair[1][:, 0])) < 2).numpy()
    both = _first(pair[0], 3, 0.5) * _first(pair[1], 2, 0.5)
    expected = -np.where(wanted, np.log(both + 1e-6), np.log(1 - both + 1e-6)).mean()
    found = _value(JointTopK(top=2, keep=3, temperature=0.5), pair, make_inputs)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("make", [RelaxedTopK, JointTopK])
def test_gradients_are_those_of_the_shares_of_both_sides(make, pair, make_inputs):
    """What keeps a candidate out is the share of the other places, as in the public code of LCRON: one minus the share
    of the first has the same value and another gradient."""
    student, teacher = pair[0].clone().requires_grad_(), pair[1]
    term = make(top=2, keep=3, temperature=0.5)
    term.setup(LossSetting([TaskInfo("click", 1.0)], has_signals=True))
    (found,) = torch.autograd.grad(term(make_inputs(student, [6], teacher=teacher)).mean(), student)
    s = student[:, 0]
    slope, far = 7 - 2 * torch.arange(1, 7), (s[:, None] - s[None]).abs().sum(1)
    places = torch.softmax((slope[:, None] * s[None] - far[None]) / (6 * 0.5), 1)
    first, others = (part.sum(0) / places.detach().sum(0) for part in (places[:3], places[3:]))
    ranker = torch.from_numpy(_first(teacher, 2, 0.5)) if make is JointTopK else torch.ones(6)
    wanted = torch.argsort(torch.argsort(-teacher[:, 0])) < 2
    loss = -(torch.where(wanted, first * ranker, 1 - (1 - others) * ranker) + 1e-6).log().mean()
    torch.testing.assert_close(found, torch.autograd.grad(loss, student)[0], rtol=1e-8, atol=1e-12)


def test_requests_of_which_all_are_kept_say_nothing(make_inputs):
    term = RelaxedTopK(top=2, keep=3)
    term.setup(LossSetting([TaskInfo("click", 1.0)], has_signals=True))
    logits = torch.zeros(7, 1)
    assert term(make_inputs(logits, [3, 4], teacher=logits)).denominators.tolist() == [1.0]


def test_neural_sort_is_least_at_the_teachers_order(pair, make_inputs):
    assert _value(NeuralSort(temperature=0.2), (pair[1], pair[1]), make_inputs) < _value(
        NeuralSort(temperature=0.2), (-pair[1], pair[1]), make_inputs
    )


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (lambda: RelaxedTopK(top=0), "RelaxedTopK"),
        (lambda: JointTopK(top=5, keep=4), "JointTopK"),
        (lambda: RelaxedTopK(form="soft"), "RelaxedTopK.form"),
        (lambda: NeuralSort(temperature=0.0), "NeuralSort.temperature"),
    ],
)
def test_impossible_options_are_refused(make, where):
    with pytest.raises(ConfigError) as error:
        make()
    assert error.value.where == where
