"""In-batch negatives with corrected frequencies."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

from distill.batch import MISSING_KEY
from distill.errors import ConfigError
from distill.losses.functional import chunks
from distill.losses.functional.sampled_softmax import sampled_softmax
from distill.losses.setting import LossSetting
from distill.losses.terms import SampledSoftmax, TaskInfo

TASKS = [TaskInfo("click", 1.0), TaskInfo("buy", 1.0)]


@pytest.mark.parametrize("elements", [1, 14, 1 << 21])
def test_equals_numpy_without_accidental_hits(generator, elements, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_ELEMENTS", elements)
    u, v = torch.randn(2, 6, 3, dtype=torch.float64, generator=generator).unbind()
    items, requests = np.array([7, 8, 7, 9, 5, 8]), np.array([0, 0, 1, 1, 2, 3])
    log_q = torch.rand(6, dtype=torch.float64, generator=generator).log()
    scores = (u @ v.T - log_q).numpy()
    expected = []
    for i in range(6):
        own = set(items[requests == requests[i]])
        kept = [i, *(j for j in range(6) if j != i and items[j] not in own)]
        expected.append(-log_softmax(scores[i, kept])[0])
    found = sampled_softmax(u, v, torch.tensor(items), torch.tensor(requests), log_q)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)
    own, others = u.clone().requires_grad_(), v.clone().requires_grad_()
    values = sampled_softmax(own, others, torch.tensor(items), torch.tensor(requests), log_q)
    gradients = torch.autograd.grad(values.sum(), (own, others))
    weights = np.zeros((6, 6))
    for i in range(6):
        kept = [i, *(j for j in range(6) if j != i and items[j] not in set(items[requests == requests[i]]))]
        weights[i, kept] = softmax(scores[i, kept])
        weights[i, i] -= 1
    for gradient, expected in zip(gradients, (weights @ v.numpy(), weights.T @ u.numpy()), strict=True):
        np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-9, atol=1e-12)
    alone = sampled_softmax(u[:1], v[:1], torch.tensor([3]), torch.tensor([0]), log_q[:1])
    assert alone.tolist() == [0.0]


@pytest.fixture
def inputs(make_inputs, generator):
    vectors = torch.randn(2, 5, 4, dtype=torch.float64, generator=generator).unbind()

    def build(labels, step=0, **changed):
        made = make_inputs(torch.zeros(5, 2), [2, 3], labels=labels, step=step, **changed)
        hidden = {name: v.clone().requires_grad_() for name, v in zip(("request", "candidate"), vectors, strict=True)}
        return replace(made, output=replace(made.output, hidden=hidden))

    return build


def ready(**arguments):
    term = SampledSoftmax(buckets=100, **arguments)
    term.setup(LossSetting(TASKS, student_vectors=lambda: {"request": 4, "candidate": 4}))
    return term


@pytest.mark.parametrize(("task", "columns"), [(None, slice(0, 2)), ("buy", slice(2, 4))])
def test_positives_of_the_task_with_its_own_columns(task, columns, inputs):
    given = inputs([[1, 0], [0, 1], [1, 1], [0, 0], [1, 1]], weight=[2.0, 1, 1, 1, 0.5])
    rows = [0, 2, 4] if task is None else [1, 2, 4]
    term = ready(task=task)
    assert term.acts_on(given.batch, None).nonzero().flatten().tolist() == rows
    hidden = given.output.hidden
    u, v = (hidden[name][rows][:, columns] for name in ("request", "candidate"))
    index = given.batch.request_index[rows]
    values = sampled_softmax(u, v, torch.tensor(rows), index, torch.zeros(3))
    weight = given.batch.weight[rows]
    expected = (values * weight).sum() / weight.sum()
    found = term(given).mean()
    assert found.item() == pytest.approx(expected.item())
    found.backward()
    for name in ("request", "candidate"):
        touched = hidden[name].grad.abs() > 0
        assert touched[rows][:, columns].any()
        assert not touched[:, [c for c in range(4) if c not in range(4)[columns]]].any()


def test_running_means_find_how_often_items_occur(inputs):
    """Item 0 is a positive at every step, item 2 at every fourth, on average: q is 1 and about 1/4."""
    term = ready()
    for step in range(400):
        term(inputs([[1, 0], [0, 0], [float(step % 4 == 0), 0], [0, 0], [0, 0]], step=step))
    assert term.gap[[0, 2]].tolist() == pytest.approx([1.0, 4.0], rel=0.05)
    before = term.gap.clone()
    term.eval()(inputs([[1, 0]] * 5, step=500))
    assert torch.equal(term.gap, before)
    state = ready()
    state.load_state_dict(term.state_dict())
    assert torch.equal(state.gap, before)


def test_items_that_are_often_positives_are_corrected_down(inputs):
    """The score of an item of probability q is u·v - log q: one that is in every fourth step gets + log 4."""
    term = ready().eval()
    term.gap[[0, 2, 4]] = torch.tensor([1.0, 4.0, 8.0])
    given = inputs([[1, 0], [0, 0], [1, 0], [0, 0], [1, 0]])
    u, v = (given.output.hidden[name].detach().numpy()[[0, 2, 4], :2] for name in ("request", "candidate"))
    scores = u @ v.T + np.log([1.0, 4.0, 8.0])
    scores[1, 2] = scores[2, 1] = -np.inf  # of one request
    expected = -np.diag(log_softmax(scores, axis=1)).mean()
    assert term(given).mean().item() == pytest.approx(expected, rel=1e-6)


def test_nothing_positive_and_wrong_use(inputs):
    sums = ready()(inputs([[0, 0]] * 5))
    assert sums.mean().item() == 0.0
    sums.mean().backward()
    unready = SampledSoftmax()
    unready.check(TASKS, has_signals=False)
    with pytest.raises(ConfigError, match="before `setup`"):
        unready(inputs([[1, 0]] * 5))
    with pytest.raises(ConfigError, match="two_tower"):
        unready.setup(LossSetting(TASKS, student_vectors=lambda: {"mlp": 8}))
    with pytest.raises(ConfigError, match="alpha"):
        SampledSoftmax(alpha=0.0)


def test_of_unknown_items_no_two_are_the_same(inputs):
    given = inputs([[1, 0], [0, 0], [1, 0], [1, 0], [0, 0]])
    unknown = given.batch.item_id.clone()
    unknown[[0, 2]] = MISSING_KEY
    apart = given.batch.item_id.clone()
    apart[[0, 2]] = torch.tensor([100, 200])
    found, expected = (
        ready()(replace(given, batch=replace(given.batch, item_id=items))).numerators for items in (unknown, apart)
    )
    assert torch.equal(found, expected)
