"""Terms on hidden vectors."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist

from distill.errors import ConfigError, SignalError
from distill.losses import CompositeLoss
from distill.losses.terms import DE, Hint, Relational, TaskInfo

SIZES = [4, 1, 3]
KINDS = [Hint, lambda **a: Hint(distance="cosine", **a), Relational, lambda **a: DE(num_experts=2, **a)]


@pytest.fixture
def inputs(make_inputs, generator):
    def build(student, teacher, **changed):
        made = make_inputs(torch.zeros(8, 1), SIZES, teacher=torch.zeros(8, 1), **changed)
        return replace(
            made,
            output=replace(made.output, hidden={"mlp": student}),
            signals=replace(made.signals, hidden={"body": teacher}),
        )

    return build


@pytest.fixture
def vectors(generator):
    shapes = ((8, 3), (8, 5))
    return [torch.randn(shape, dtype=torch.float64, generator=generator, requires_grad=True) for shape in shapes]


def ready(make, student=3, teacher=5, **arguments):
    term = make(student="mlp", **arguments)
    term.setup([TaskInfo("click", 1.0)], has_signals=True)
    term.setup_hidden({"mlp": student, "other": 9}, {"body": teacher})
    return term.double()


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("distance", ["l2", "cosine"])
def test_hint_equals_numpy(normalise, distance, inputs, vectors):
    term = ready(Hint, distance=distance, normalise=normalise)
    valid, weight = np.array([1, 1, 0, 1, 1, 1, 1, 0], dtype=bool), np.array([1, 2, 1, 0.5, 0, 1, 1, 1])
    s, t = (v.detach().numpy() for v in vectors)
    if normalise:
        s, t = ((x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5) for x in (s, t))
    image = s @ term.project.weight.detach().numpy().T + term.project.bias.detach().numpy()
    values = ((image - t) ** 2).mean(1)
    if distance == "cosine":
        values = 1 - (image * t).sum(1) / (np.linalg.norm(image, axis=1) * np.linalg.norm(t, axis=1))
    expected = (values * weight * valid).sum() / (weight * valid).sum()
    found = term(inputs(*vectors, valid=valid, weight=weight)).mean().item()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_relational_equals_scipy_and_ignores_scale(inputs, vectors):
    term = ready(Relational)
    s, t = (v.detach().numpy() for v in vectors)
    means = []
    for rows in (slice(0, 4), slice(5, 8)):
        a, b = pdist(s[rows]), pdist(t[rows])
        difference = np.abs(a / a.mean() - b / b.mean())
        means.append(np.where(difference < 1, 0.5 * difference**2, difference - 0.5).mean())
    np.testing.assert_allclose(term(inputs(*vectors)).mean().item(), np.mean(means), rtol=1e-9)
    same = ready(Relational, teacher=3)
    np.testing.assert_allclose(same(inputs(vectors[0], 7 * vectors[0])).mean().item(), 0, atol=1e-12)
    equal = ready(Relational)(inputs(torch.ones(8, 3, requires_grad=True), vectors[1]))
    assert equal.denominators.tolist() == [0.0]
    assert equal.mean().item() == 0.0


def test_de_rebuilds_with_the_selected_expert(inputs, vectors):
    torch.manual_seed(0)
    term = ready(DE, num_experts=2, temperature=1e-3)
    torch.nn.init.zeros_(term.select.weight)
    term.select.bias.data = torch.tensor([50.0, -50.0]).double()
    expected = (term.experts[0](vectors[0]) - vectors[1]).square().mean(1).mean().item()
    np.testing.assert_allclose(term(inputs(*vectors)).mean().item(), expected, rtol=1e-9)


@pytest.mark.parametrize("make", KINDS)
def test_gradients_reach_the_student_and_the_term_alone(make, inputs, vectors):
    student, teacher = vectors
    term = ready(make)
    term(inputs(student, teacher, valid=[True] * 7 + [False])).mean().backward()
    assert teacher.grad is None
    assert student.grad.isfinite().all()
    assert student.grad[:4].abs().max() > 0
    assert student.grad[7].abs().max() == 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in term.parameters())
    nothing = ready(make)(inputs(student, teacher, weight=[0.0] * 8))
    assert nothing.mean().item() == 0
    nothing.mean().backward()


@pytest.mark.parametrize("make", KINDS)
def test_wrong_use_is_an_error_that_says_what_there_is(make, inputs, vectors):
    unready = make()
    unready.setup([TaskInfo("click", 1.0)], has_signals=True)
    with pytest.raises(ConfigError, match="before `setup`"):
        unready(inputs(*vectors))
    with pytest.raises(ConfigError, match=r"mlp \[3\], other \[9\]"):
        _named(make, student="towers")
    with pytest.raises(ConfigError, match="online"):
        _named(make, teacher_vectors={}, student="mlp")
    term, given = ready(make), inputs(*vectors)
    with pytest.raises(SignalError, match="hidden"):
        term(replace(given, signals=replace(given.signals, hidden={})))


def _named(make, teacher_vectors=None, **names):
    term = make(**names)
    term.setup([TaskInfo("click", 1.0)], has_signals=True)
    term.setup_hidden({"mlp": 3, "other": 9}, {"body": 5} if teacher_vectors is None else teacher_vectors)


def test_parameters_of_a_term_that_is_not_in_force_get_a_gradient_of_zero(inputs, vectors):
    """DDP waits for a gradient of every parameter."""
    loss = CompositeLoss({"hint": Hint(weight=0.0, student="mlp")})
    loss.setup([TaskInfo("click", 1.0)], has_signals=True)
    assert loss.needs_hidden
    loss.setup_hidden({"mlp": 3}, {"body": 5})
    given = inputs(*vectors)
    given.output.logits.requires_grad_()
    loss(given).total.backward()
    assert [p.grad.abs().max().item() for p in loss.parameters()] == [0.0, 0.0]
    with pytest.raises(ConfigError, match=r"loss\.terms\.hint \(Hint\.student\)"):
        loss.setup_hidden({}, {"body": 5})


def test_several_vectors_of_the_student_stand_side_by_side(inputs, vectors):
    term = Hint(student=["mlp", "other"], normalise=False)
    term.setup([TaskInfo("click", 1.0)], has_signals=True)
    term.setup_hidden({"mlp": 3, "other": 2}, {"body": 5})
    other = torch.ones(8, 2, dtype=torch.float64)
    given = inputs(*vectors)
    given = replace(given, output=replace(given.output, hidden={**given.output.hidden, "other": other}))
    image = term.double().project(torch.cat([vectors[0], other], 1))
    assert term(given).mean().item() == pytest.approx((image - vectors[1]).square().mean().item())
