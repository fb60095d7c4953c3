"""In-batch negatives with corrected frequencies."""

from contextlib import nullcontext
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
from distill.ops.waiting import as_on_a_device
from tests.no_sync import waits

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


@pytest.mark.parametrize("elements", [1, 14, 1 << 21])
def test_steps_on_a_device_are_those_of_the_host(elements, make_inputs, monkeypatch):
    """Repeated and unknown items, rows of the first request that are no positives, a step without any."""
    monkeypatch.setattr(chunks, "CHUNK_ELEMENTS", elements)
    results = []
    for device in (False, True):
        draw = torch.Generator().manual_seed(3)
        term = ready()
        found = []
        for step in (0, 1, 1, 4):
            labels = (torch.rand(12, 2, generator=draw) < (0.6 if step < 4 else 0.0)).float()
            items = torch.tensor([5, MISSING_KEY, 7, 105])[torch.randint(0, 4, (12,), generator=draw)]
            weight = (torch.rand(12, generator=draw) < 0.8) * 1.5
            made = make_inputs(torch.zeros(12, 2), [5, 1, 0, 6], labels=labels, item_id=items, weight=weight, step=step)
            hidden = {n: torch.randn(12, 4, dtype=torch.float64, generator=draw) for n in ("request", "candidate")}
            leaves = [value.requires_grad_() for value in hidden.values()]
            batch = made.batch.measured()
            batch = replace(batch, sizes=replace(batch.sizes, positives=batch.sizes.positives + 3))
            given = replace(made, batch=batch, output=replace(made.output, hidden=hidden))
            with as_on_a_device() if device else nullcontext():
                sums = term(given)
                found += [sums.numerators, sums.denominators, *torch.autograd.grad(sums.numerators.sum(), leaves)]
        results.append([*found, term.gap.clone(), term.last_seen.clone()])
    torch.testing.assert_close(results[1], results[0], rtol=1e-9, atol=1e-12)
    assert (results[0][-1] >= 0).sum() > 1


def test_what_is_known_of_positives_saves_a_wait(inputs):
    given = inputs([[1, 0], [0, 1], [1, 1], [0, 0], [1, 1]])
    known = replace(given, batch=given.batch.measured())
    for batch, waits_for in (
        (known.batch, False),
        (replace(known.batch, sizes=known.batch.sizes.with_positives(None)), True),
    ):
        term = ready()
        with waits() as found:
            term(replace(given, batch=batch))
        assert bool(found) == waits_for


def test_a_recording_counts_the_steps(inputs):
    given = replace(inputs([[1, 0]] * 5), batch=inputs([[1, 0]] * 5).batch.measured())
    counted, told = ready(), ready()
    told.step_on_device = torch.tensor(0)
    for step in (0, 3, 4):
        told.step_on_device.fill_(step)
        counted(replace(given, step=step))
        told(given)  # whose own step is 0
    assert torch.equal(told.last_seen, counted.last_seen)
    assert torch.equal(told.gap, counted.gap)
    assert counted.last_seen.max() == 4
