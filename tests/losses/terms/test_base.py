import pytest
import torch

from distill.errors import ConfigError, SignalError
from distill.losses.schedule import Linear
from distill.losses.setting import LossSetting
from distill.losses.terms import (
    BernoulliKL,
    HardBCE,
    ListMLE,
    LogitMSE,
    MultiPositiveSoftmax,
    ProbMSE,
    SoftmaxKL,
    TaskInfo,
    TermSums,
)

SOFT_TERMS = [BernoulliKL, LogitMSE, ProbMSE, SoftmaxKL]


@pytest.fixture
def random_inputs(make_inputs, generator):
    def build(dtype=torch.float64, **arguments):
        student, teacher = torch.randn(2, 6, 2, dtype=dtype, generator=generator).unbind()
        return make_inputs(
            student.clone().requires_grad_(), [3, 1, 2], teacher=teacher.clone().requires_grad_(), **arguments
        )

    return build


def test_mean_counts_units_without_rows_as_zero():
    sums = TermSums(torch.tensor([6.0, 0.0, 1.0]), torch.tensor([3.0, 0.0, 4.0]), torch.tensor([0.5, 9.0, 2.0]))
    assert sums.mean().item() == 0.5 * 2.0 + 2.0 * 0.25
    assert sums.mean(torch.tensor([12.0, 5.0, 1.0])).item() == 0.5 * 0.5 + 2.0
    assert TermSums(torch.zeros(2), torch.zeros(2), torch.ones(2)).mean().item() == 0.0


@pytest.mark.parametrize("kind", [HardBCE, *SOFT_TERMS])
def test_forward_before_setup_is_an_error(kind, random_inputs):
    with pytest.raises(ConfigError, match="before `setup`"):
        kind()(random_inputs())


@pytest.mark.parametrize("kind", SOFT_TERMS)
def test_soft_terms_need_signals(kind, two_tasks, random_inputs, make_inputs):
    term = kind()
    assert kind.needs_signals
    assert term.rows == ("scored",)
    with pytest.raises(ConfigError, match="needs teacher signals"):
        term.setup(LossSetting(two_tasks, has_signals=False))
    term = kind(rows="all")
    term.setup(LossSetting(two_tasks, has_signals=True))
    with pytest.raises(SignalError, match="no teacher logits"):
        term(make_inputs(torch.zeros(2, 2), [2]))
    with pytest.raises(SignalError, match=r"\[2, 1\]"):
        term(make_inputs(torch.zeros(2, 2), [2], teacher=torch.zeros(2, 1)))


def test_hard_term_needs_signals_only_for_scored_rows(two_tasks):
    HardBCE().setup(LossSetting(two_tasks, has_signals=False))
    with pytest.raises(ConfigError, match="needs teacher signals"):
        HardBCE(rows=["exposed", "scored"]).setup(LossSetting(two_tasks, has_signals=False))


@pytest.mark.parametrize("tasks", [["click", "like"], [], ["buy", "buy"]])
def test_wrong_tasks_are_an_error_that_names_the_known_ones(tasks, two_tasks):
    with pytest.raises(ConfigError, match="click, buy"):
        HardBCE(tasks=tasks).setup(LossSetting(two_tasks, has_signals=False))


def test_logits_that_do_not_fit_the_tasks_are_an_error(two_tasks, make_inputs):
    term = HardBCE()
    term.setup(LossSetting(two_tasks, has_signals=False))
    with pytest.raises(ConfigError, match=r"\[N, 2\]"):
        term(make_inputs(torch.zeros(3, 3), [3]))


def test_wrong_arguments_are_errors():
    with pytest.raises(ConfigError, match=r"HardBCE\.rows"):
        HardBCE(rows="clicked")
    with pytest.raises(ConfigError, match=r"LogitMSE\.weight"):
        LogitMSE(weight=Linear(1.0, -1.0, 10))
    with pytest.raises(ConfigError, match=r"SoftmaxKL\.temperature"):
        SoftmaxKL(temperature=0.0)
    with pytest.raises(ConfigError, match=r"BernoulliKL\.temperature"):
        BernoulliKL(temperature=Linear(4.0, 0.0, 10))


@pytest.mark.parametrize("kind", [HardBCE, *SOFT_TERMS])
@pytest.mark.parametrize("empty", [{"weight": [0.0] * 6}, {"valid": [False] * 6, "observed": [[False] * 2] * 6}])
def test_empty_selection_is_zero_and_stays_in_the_graph(kind, empty, two_tasks, random_inputs):
    inputs = random_inputs(**empty)
    term = kind()
    term.setup(LossSetting(two_tasks, has_signals=True))
    sums = term(inputs)
    assert sums.numerators.tolist() == [0.0, 0.0]
    assert sums.denominators.tolist() == [0.0, 0.0]
    mean = sums.mean()
    mean.backward()
    assert mean.item() == 0.0
    assert inputs.output.logits.grad.abs().max() == 0


@pytest.mark.parametrize("kind", SOFT_TERMS)
def test_invalid_rows_never_take_part(kind, two_tasks, random_inputs):
    valid = torch.tensor([1, 1, 0, 1, 0, 1], dtype=torch.bool)
    inputs = random_inputs(valid=valid)
    term = kind(rows="all")
    term.setup(LossSetting(two_tasks, has_signals=True))
    term(inputs).mean().backward()
    touched = inputs.output.logits.grad.abs().sum(1) > 0
    alone = [3, 5] if kind is SoftmaxKL else []
    assert touched.tolist() == [bool(v) and i not in alone for i, v in enumerate(valid)]


@pytest.mark.parametrize("kind", SOFT_TERMS)
def test_no_gradient_reaches_the_teacher(kind, two_tasks, random_inputs):
    inputs = random_inputs()
    term = kind()
    term.setup(LossSetting(two_tasks, has_signals=True))
    assert not term.teacher_logits(inputs).requires_grad
    term(inputs).mean().backward()
    assert inputs.signals.logits.grad is None
    assert inputs.output.logits.grad.abs().max() > 0


@pytest.mark.parametrize("kind", SOFT_TERMS)
def test_zero_at_agreement(kind, two_tasks, make_inputs, generator):
    logits = torch.randn(5, 2, generator=generator)
    student = logits.clone().requires_grad_()
    term = kind()
    term.setup(LossSetting(two_tasks, has_signals=True))
    mean = term(make_inputs(student, [2, 3], teacher=logits)).mean()
    mean.backward()
    assert mean.item() == 0.0
    assert student.grad.abs().max() < 1e-7


@pytest.mark.parametrize("kind", [HardBCE, *SOFT_TERMS])
def test_half_precision_is_computed_in_float32(kind, two_tasks, random_inputs):
    inputs = random_inputs(dtype=torch.bfloat16)
    term = kind()
    term.setup(LossSetting(two_tasks, has_signals=True))
    sums = term(inputs)
    assert sums.numerators.dtype == sums.denominators.dtype == torch.float32
    sums.mean().backward()
    assert inputs.output.logits.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("kind", [HardBCE, *SOFT_TERMS])
def test_one_task_of_two(kind, two_tasks, random_inputs, make_inputs):
    inputs = random_inputs()
    term = kind(tasks=["buy"])
    term.setup(LossSetting(two_tasks, has_signals=True))
    alone = kind()
    alone.setup(LossSetting([TaskInfo("buy", 0.5)], has_signals=True))
    expected = alone(make_inputs(inputs.output.logits[:, 1:], [3, 1, 2], teacher=inputs.signals.logits.detach()[:, 1:]))
    actual = term(inputs)
    torch.testing.assert_close(actual.mean(), expected.mean())
    assert actual.weights.tolist() == [0.5]
    actual.mean().backward()
    assert inputs.output.logits.grad[:, 0].abs().max() == 0


@pytest.mark.parametrize("width", [1, 2])
def test_row_sums_leave_out_what_is_masked_whatever_it_is(width, two_tasks):
    term = BernoulliKL()
    term.setup(LossSetting(two_tasks, has_signals=True))
    values = torch.tensor([[1.0, 2.0], [float("nan"), float("inf")], [3.0, 5.0]], requires_grad=True)
    mask = torch.tensor([True, False, True]).unsqueeze(1).expand(3, width)
    sums = term.row_sums(values, mask, torch.tensor([2.0, 7.0, 1.0]))
    sums.numerators.sum().backward()
    assert sums.numerators.tolist() == [5.0, 9.0]
    assert sums.denominators.tolist() == [3.0, 3.0]
    assert values.grad.tolist() == [[2.0, 2.0], [0.0, 0.0], [1.0, 1.0]]


def test_derivatives_of_row_sums(two_tasks, generator):
    term = BernoulliKL()
    term.setup(LossSetting(two_tasks, has_signals=True))
    values = torch.randn(4, 2, dtype=torch.float64, generator=generator, requires_grad=True)
    mask = torch.tensor([[True], [False], [True], [True]])
    weight = torch.rand(4, dtype=torch.float64, generator=generator)
    assert torch.autograd.gradcheck(lambda v: term.row_sums(v, mask, weight).numerators, values)
    assert torch.autograd.gradgradcheck(lambda v: term.row_sums(v, mask, weight).numerators, values)


@pytest.mark.parametrize("kind", [*SOFT_TERMS, ListMLE, lambda: MultiPositiveSoftmax(positives="teacher", top=1)])
def test_terms_on_the_teacher_act_on_the_tasks_that_it_scores(kind, random_inputs, make_inputs):
    """The NaN of a task that it does not score reaches neither the value nor a gradient."""
    whole = random_inputs()
    teacher = whole.signals.logits.detach().clone()
    teacher[:, 0] = torch.nan
    inputs = make_inputs(whole.output.logits, [3, 1, 2], teacher=teacher)
    some, alone = kind(), kind()
    some.setup(LossSetting([TaskInfo("click", 1.0, taught=False), TaskInfo("buy", 0.5)], has_signals=True))
    alone.setup(LossSetting([TaskInfo("buy", 0.5)], has_signals=True))
    value = some(inputs).mean()
    expected = alone(make_inputs(whole.output.logits[:, 1:], [3, 1, 2], teacher=teacher[:, 1:])).mean()
    assert value.item() == expected.item() != 0
    value.backward()
    assert not whole.output.logits.grad[:, 0].any()
    assert whole.output.logits.grad[:, 1].isfinite().all()


@pytest.mark.parametrize("tasks", [["click"], ["buy", "click"]])
def test_a_term_that_wants_an_unscored_task_is_refused(tasks):
    known = [TaskInfo("click", 1.0, taught=False), TaskInfo("buy", 0.5)]
    for term in (BernoulliKL(tasks=tasks), MultiPositiveSoftmax(positives="teacher", top=1, tasks=tasks)):
        with pytest.raises(ConfigError, match=r"does not score(.|\n)*some of buy(.|\n)*found: +click"):
            term.setup(LossSetting(known, has_signals=True))
    with pytest.raises(ConfigError, match="cannot act on"):
        BernoulliKL().setup(LossSetting(known[:1], has_signals=True))
    for term in (HardBCE(tasks=tasks), HardBCE(rows="scored", tasks=tasks), MultiPositiveSoftmax(tasks=tasks)):
        term.setup(LossSetting(known, has_signals=True))
    everything = HardBCE(rows="scored")
    everything.setup(LossSetting(known, has_signals=True))
    assert everything.task_columns.tolist() == [0, 1]
