import pickle

import numpy as np
import pytest
import torch

from distill.errors import ConfigError
from distill.losses.composite import CompositeLoss
from distill.losses.schedule import Linear, Warmup
from distill.losses.setting import LossSetting
from distill.losses.terms import BernoulliKL, HardBCE, LogitMSE, ProbMSE, SoftmaxKL


@pytest.fixture
def all_terms():
    return {
        "soft": BernoulliKL(weight=0.7, temperature=2.0),
        "hard": HardBCE(weight=1.5, rows=["exposed", "ranked"]),
        "list": SoftmaxKL(weight=0.2),
        "logit": LogitMSE(weight=0.1, rows="unexposed", tasks=["buy"]),
        "prob": ProbMSE(weight=2.0),
    }


def _random(sizes, seed):
    """Inputs whose exposed, scored and observed shares depend on the seed."""
    generator = torch.Generator().manual_seed(seed)
    num_rows = sum(sizes)
    student, teacher = torch.randn(2, num_rows, 2, dtype=torch.float64, generator=generator).unbind()
    return {
        "logits": student,
        "sizes": sizes,
        "teacher": teacher,
        "valid": torch.rand(num_rows, generator=generator) < 0.7,
        "labels": (torch.rand(num_rows, 2, generator=generator) < 0.4).float(),
        "observed": torch.rand(num_rows, 2, generator=generator) < 0.6,
        "weight": torch.randint(0, 4, (num_rows,), generator=generator) / 2,
        "stage": torch.randint(0, 4, (num_rows,), generator=generator),
    }


def _union(first, second):
    return {
        key: value + second[key] if key == "sizes" else torch.cat([value, second[key]]) for key, value in first.items()
    }


def _build(make_inputs, arguments, logits):
    return make_inputs(logits, **{key: value for key, value in arguments.items() if key != "logits"})


def test_total_is_the_weighted_sum_of_the_parts_in_order(make_inputs, two_tasks, all_terms):
    loss = CompositeLoss(all_terms)
    loss.setup(LossSetting(two_tasks, has_signals=True))
    arguments = _random([4, 2, 5], seed=0)
    inputs = _build(make_inputs, arguments, arguments["logits"].requires_grad_())
    report = loss(inputs)
    assert list(report.parts) == list(report.weights) == list(all_terms)
    assert list(report.weights.values()) == [0.7, 1.5, 0.2, 0.1, 2.0]
    for name, term in all_terms.items():
        assert report.parts[name] == term(inputs).mean()
        assert not report.parts[name].requires_grad
    total = sum(report.weights[name] * report.parts[name].item() for name in all_terms)
    assert report.total.item() == pytest.approx(total, rel=1e-12)
    assert report.total.shape == ()
    assert report.total.requires_grad


@pytest.mark.parametrize("sizes", [([6, 3, 1, 4], [2]), ([3], [5, 5, 5]), ([4, 2], [1])])
def test_mean_gradient_of_uneven_processes_equals_the_gradient_of_all_rows(
    make_inputs, two_tasks, all_terms, sizes, generator
):
    loss = CompositeLoss(all_terms)
    loss.setup(LossSetting(two_tasks, has_signals=True))
    shards = [_random(list(size), seed) for seed, size in enumerate(sizes)]
    features = [torch.randn(len(shard["logits"]), 3, dtype=torch.float64, generator=generator) for shard in shards]
    matrix = torch.randn(3, 2, dtype=torch.float64, generator=generator).requires_grad_()

    def run(arguments, rows):
        report = loss(_build(make_inputs, arguments, rows @ matrix))
        (gradient,) = torch.autograd.grad(report.total, matrix)
        return gradient, report

    whole, whole_report = run(_union(*shards), torch.cat(features))

    counts = []
    loss.reduce_denominators = lambda denominators: counts.append(denominators) or denominators
    for shard, rows in zip(shards, features, strict=True):
        run(shard, rows)
    assert not torch.equal(counts[0], counts[1])
    loss.reduce_denominators = lambda denominators: torch.stack(counts).sum(0) / 2
    runs = [run(shard, rows) for shard, rows in zip(shards, features, strict=True)]
    mean = (runs[0][0] + runs[1][0]) / 2
    torch.testing.assert_close(mean, whole, atol=1e-12, rtol=0)
    for name, part in whole_report.parts.items():
        over_ranks = (runs[0][1].parts[name] + runs[1][1].parts[name]) / 2
        torch.testing.assert_close(over_ranks, part, atol=1e-12, rtol=0)


def test_denominators_are_reduced_once_a_step_and_without_gradient(make_inputs, two_tasks, all_terms):
    loss = CompositeLoss(all_terms)
    loss.setup(LossSetting(two_tasks, has_signals=True))
    seen = []
    loss.reduce_denominators = lambda denominators: seen.append(denominators) or denominators
    arguments = _random([4, 3], seed=1)
    loss(_build(make_inputs, arguments, arguments["logits"].requires_grad_()))
    assert [tuple(denominators.shape) for denominators in seen] == [(9,)]
    assert not seen[0].requires_grad


class _Exploding(HardBCE):
    def forward(self, inputs):
        raise AssertionError("computed although its weight is 0")


def test_a_term_of_weight_zero_is_not_computed_but_reported(make_inputs, two_tasks):
    loss = CompositeLoss({"late": _Exploding(weight=Warmup(0.5, steps=3)), "hard": HardBCE(Linear(1.0, 0.0, 4))})
    loss.setup(LossSetting(two_tasks, has_signals=False))
    logits = torch.zeros(2, 2, requires_grad=True)
    report = loss(make_inputs(logits, [2], step=2))
    assert report.weights == {"late": 0.0, "hard": 0.5}
    assert report.parts["late"].item() == 0.0
    np.testing.assert_allclose(report.total.item(), 0.5 * 1.5 * np.log(2), rtol=1e-6)
    with pytest.raises(AssertionError, match="computed"):
        loss(make_inputs(logits, [2], step=3))


def test_no_weight_at_all_gives_a_total_of_zero_that_can_be_differentiated(make_inputs, two_tasks):
    loss = CompositeLoss({"hard": HardBCE(weight=Warmup(1.0, steps=5))})
    loss.setup(LossSetting(two_tasks, has_signals=False))
    loss.reduce_denominators = lambda denominators: pytest.fail("nothing to reduce")
    logits = torch.randn(3, 2, requires_grad=True)
    report = loss(make_inputs(logits, [3]))
    report.total.backward()
    assert report.total.item() == 0.0
    assert logits.grad.abs().max() == 0


def test_empty_selection_gives_zero_not_nan(make_inputs, two_tasks, all_terms):
    loss = CompositeLoss(all_terms)
    loss.setup(LossSetting(two_tasks, has_signals=True))
    logits = torch.randn(3, 2, requires_grad=True)
    report = loss(make_inputs(logits, [3], teacher=torch.zeros(3, 2), weight=[0.0] * 3))
    report.total.backward()
    assert report.total.item() == 0.0
    assert logits.grad.abs().max() == 0
    assert all(part.isfinite() for part in report.parts.values())


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({}, "no terms"),
        ({"hard": HardBCE(), "soft": {"temperature": 2.0}}, r"loss\.terms\.soft"),
        ({"soft": None}, r"loss\.terms\.soft"),
        ({"a.b": HardBCE()}, "a module cannot have"),
        ({"values": HardBCE()}, "a module cannot have"),
    ],
)
def test_what_is_not_a_term_is_an_error_that_names_the_key(terms, message):
    with pytest.raises(ConfigError, match=message):
        CompositeLoss(terms)


def test_setup_errors_name_the_term(two_tasks):
    loss = CompositeLoss({"hard": HardBCE(), "soft": BernoulliKL()})
    assert loss.needs_signals
    assert not CompositeLoss({"hard": HardBCE()}).needs_signals
    assert CompositeLoss({"hard": HardBCE(rows="scored")}).needs_signals
    with pytest.raises(ConfigError, match=r"loss\.terms\.soft"):
        loss.setup(LossSetting(two_tasks, has_signals=False))
    with pytest.raises(ConfigError, match=r"loss\.terms\.hard"):
        loss.setup(LossSetting([], has_signals=True))


def test_has_no_state_and_can_be_pickled(all_terms, two_tasks):
    loss = CompositeLoss(all_terms)
    loss.setup(LossSetting(two_tasks, has_signals=True))
    assert loss.state_dict() == {}
    copy = pickle.loads(pickle.dumps(loss))
    assert copy.terms["soft"].task_weights.tolist() == [1.0, 0.5]


def test_plan_reaches_weights_and_temperatures(two_tasks):
    term = BernoulliKL(weight=Warmup(1.0, steps=0.5), temperature=Linear(4.0, 1.0, steps=0.5))
    loss = CompositeLoss({"soft": term})
    loss.setup(LossSetting(two_tasks, has_signals=True, total_steps=10))
    assert [term.weight.value(step) for step in (4, 5)] == [0.0, 1.0]
    assert [term.temperature.value(step) for step in (0, 5)] == [4.0, 1.0]


def test_learned_weights_of_the_terms_follow_their_equation(make_inputs, two_tasks, all_terms):
    loss = CompositeLoss(all_terms, weighting="uncertainty")
    plain = CompositeLoss(all_terms)
    loss.setup(LossSetting(two_tasks, has_signals=True))
    inputs = _build(make_inputs, (a := _random([4, 2, 5], seed=0)), a["logits"].requires_grad_())
    expected = plain(inputs)
    assert loss(inputs).total.item() == pytest.approx(expected.total.item())  # s = 0
    with torch.no_grad():
        loss.log_variances["soft"].fill_(0.8)
        loss.log_variances["prob"].fill_(-0.3)
    report = loss(inputs)
    s = {"soft": 0.8, "prob": -0.3}
    total = sum(
        w * (np.exp(-s.get(n, 0)) * expected.parts[n].item() + s.get(n, 0) / 2) for n, w in expected.weights.items()
    )
    assert report.total.item() == pytest.approx(total)
    assert report.weights["soft"] == pytest.approx(0.7 * np.exp(-0.8))
    report.total.backward()
    gradient = 0.7 * (0.5 - np.exp(-0.8) * expected.parts["soft"].item())
    assert loss.log_variances["soft"].grad.item() == pytest.approx(gradient, rel=1e-5)


def test_a_learned_weight_is_left_alone_where_its_term_has_no_rows_or_no_weight(make_inputs, two_tasks):
    terms = {"hard": HardBCE(), "ranked": HardBCE(rows="ranked"), "later": LogitMSE(weight=Linear(0.0, 1.0, 10))}
    loss = CompositeLoss(terms, weighting="uncertainty")
    loss.setup(LossSetting(two_tasks, has_signals=True))
    logits = torch.zeros(3, 2, requires_grad=True)
    loss(make_inputs(logits, [3], teacher=torch.zeros(3, 2))).total.backward()
    grads = {name: float(s.grad) for name, s in loss.log_variances.items()}
    assert grads["hard"] != 0
    assert grads["ranked"] == 0
    assert grads["later"] == 0  # DDP wants a gradient from every parameter


def test_an_unknown_weighting_is_refused():
    with pytest.raises(ConfigError, match="fixed, uncertainty, or a GradNorm"):
        CompositeLoss({"hard": HardBCE()}, weighting="gradnorm")
