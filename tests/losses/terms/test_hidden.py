"""Terms on hidden vectors."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist

from distill.errors import ConfigError, SignalError
from distill.losses import CompositeLoss
from distill.losses.functional import chunks
from distill.losses.functional.relational import relational
from distill.losses.setting import LossSetting
from distill.losses.terms import DE, Hint, Relational, TaskInfo
from distill.ops import pairs

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


def setting(student, teacher):
    return LossSetting([TaskInfo("click", 1.0)], True, student_vectors=lambda: student, teacher_vectors=lambda: teacher)


def ready(make, student=3, teacher=5, **arguments):
    term = make(student="mlp", **arguments)
    term.setup(setting({"mlp": student, "other": 9}, {"body": teacher}))
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


def _listed_distances(x, sizes):
    starts = np.cumsum([0, *sizes])
    return [torch.nn.functional.pdist(x[s : s + n]) for s, n in zip(starts, sizes, strict=False) if n > 1]


@pytest.mark.parametrize("area", [3, 100, 1 << 18])
def test_relational_has_the_gradient_of_its_formula(area, monkeypatch, generator):
    """Also through the means, for equal vectors, and however the pairs are cut into blocks."""
    monkeypatch.setattr(pairs, "BLOCK_PAIRS", area)
    sizes = [40, 1, 3, 35]
    x, y = (torch.randn(79, w, dtype=torch.float64, generator=generator) for w in (3, 5))
    x[1] = x[0]
    counts, index = torch.tensor(sizes), torch.arange(4).repeat_interleave(torch.tensor(sizes))
    weight = torch.tensor([1.0, 9.0, 2.0, 0.5], dtype=torch.float64)
    own, listed = (x.clone().requires_grad_() for _ in range(2))
    sums, number = relational(own, y, index, counts)
    assert number.tolist() == [780, 0, 3, 595]
    expected = 0.0
    for a, b, w in zip(_listed_distances(listed, sizes), _listed_distances(y, sizes), weight[[0, 2, 3]], strict=True):
        expected = expected + w * torch.nn.functional.smooth_l1_loss(a / a.mean(), b / b.mean(), reduction="sum")
    np.testing.assert_allclose((sums * weight).sum().item(), expected.item(), rtol=1e-12)
    (sums * weight).sum().backward()
    expected.backward()
    np.testing.assert_allclose(own.grad.numpy(), listed.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_de_in_chunks_is_de_at_once(inputs, vectors, monkeypatch):
    found = []
    for elements in (1 << 21, 40):
        monkeypatch.setattr(chunks, "CHUNK_ELEMENTS", elements)
        torch.manual_seed(0)
        term = ready(DE, num_experts=2)
        student = vectors[0].detach().clone().requires_grad_()
        loss = term(inputs(student, vectors[1])).mean()
        loss.backward()
        found.append([loss.detach(), student.grad, *(p.grad for p in term.parameters())])
    for whole, chunked in zip(*found, strict=True):
        torch.testing.assert_close(whole, chunked, rtol=1e-12, atol=1e-14)


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
    unready.check([TaskInfo("click", 1.0)], has_signals=True)
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
    term.setup(setting({"mlp": 3, "other": 9}, {"body": 5} if teacher_vectors is None else teacher_vectors))


def test_parameters_of_a_term_that_is_not_in_force_get_a_gradient_of_zero(inputs, vectors):
    """DDP waits for a gradient of every parameter."""
    loss = CompositeLoss({"hint": Hint(weight=0.0, student="mlp")})
    assert loss.teacher_vectors == ("body",)
    loss.setup(setting({"mlp": 3}, {"body": 5}))
    given = inputs(*vectors)
    given.output.logits.requires_grad_()
    loss(given).total.backward()
    assert [p.grad.abs().max().item() for p in loss.parameters()] == [0.0, 0.0]
    with pytest.raises(ConfigError, match=r"loss\.terms\.hint \(Hint\.student\)"):
        loss.setup(setting({}, {"body": 5}))


def test_several_vectors_of_the_student_stand_side_by_side(inputs, vectors):
    term = Hint(student=["mlp", "other"], normalise=False)
    term.setup(setting({"mlp": 3, "other": 2}, {"body": 5}))
    other = torch.ones(8, 2, dtype=torch.float64)
    given = inputs(*vectors)
    given = replace(given, output=replace(given.output, hidden={**given.output.hidden, "other": other}))
    image = term.double().project(torch.cat([vectors[0], other], 1))
    assert term(given).mean().item() == pytest.approx((image - vectors[1]).square().mean().item())
