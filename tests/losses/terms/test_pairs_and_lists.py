"""The terms on pairs and lists: what takes part, how it is averaged, and where gradients go."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import expit

from distill.batch import Stage
from distill.data.popularity import ItemExposures
from distill.errors import ConfigError, DataError
from distill.losses.setting import LossSetting
from distill.losses.terms import (
    CLID,
    COPR,
    JRC,
    RRD,
    Contrastive,
    JointTopK,
    LambdaRank,
    ListMLE,
    ListNet,
    MarginMSE,
    MultiPositiveSoftmax,
    NeuralSort,
    RankFlow,
    RankNet,
    RelaxedTopK,
    SoftCE,
    StageOrder,
    TaskInfo,
    TeacherRankNet,
    UnKD,
)

SIZES = [4, 1, 3, 2]
OBSERVED = torch.tensor([[1, 1], [1, 0], [1, 1], [0, 1], [1, 1], [1, 1], [1, 1], [0, 0], [1, 0], [1, 1]]).bool()
LABELS = torch.tensor([[1, 0], [0, 0], [0, 1], [0, 0], [1, 1], [1, 0], [1, 0], [0, 0], [0, 0], [1, 1]]).float()
LABELLED = [RankNet, Contrastive, lambda **a: Contrastive(form="squared", **a), LambdaRank, ListNet, JRC]
TAUGHT = [
    SoftCE,
    TeacherRankNet,
    lambda **a: TeacherRankNet(target="order", **a),
    MarginMSE,
    ListMLE,
    lambda **a: RRD(top=2, **a),
    lambda **a: COPR(chunk=2, **a),
    lambda **a: MultiPositiveSoftmax(positives="teacher", top=1, **a),
    CLID,
    NeuralSort,
    lambda **a: RelaxedTopK(top=1, keep=2, **a),
    lambda **a: RelaxedTopK(top=2, form="arf", **a),
    lambda **a: JointTopK(top=1, **a),
    lambda **a: UnKD(groups=2, **a),
    lambda **a: RankFlow(passed=3, best=1, worst=1, **a),
]
OTHERS = [StageOrder, MultiPositiveSoftmax, lambda **a: MultiPositiveSoftmax(positives="exposed", **a)]
ALL = [*LABELLED, *TAUGHT, *OTHERS]
STAGE = [3, 3, 2, 0, 3, 1, 3, 0, 2, 3]
EXPOSURES = ItemExposures(torch.arange(9), torch.tensor([5, 5, 1, 1, 5, 5, 1, 1, 1]))


@pytest.fixture
def inputs(make_inputs, generator):
    def build(dtype=torch.float64, **changed):
        student, teacher = torch.randn(2, 10, 2, dtype=dtype, generator=generator).unbind()
        own = {"teacher": teacher, "labels": LABELS, "observed": OBSERVED, "stage": STAGE, **changed}
        return make_inputs(student.clone().requires_grad_(), SIZES, **own)

    return build


def _ready(make, known, **arguments):
    term = make(**arguments)
    term.setup(LossSetting(known, has_signals=True, exposures=lambda: EXPOSURES))
    return term


def _mean_over_pairs(student, target, mask, value, index):
    """The mean over requests of the mean of value(i, j) over pairs with a larger target first."""
    means = []
    for r in range(int(index.max()) + 1):
        rows = [i for i in range(len(index)) if index[i] == r and mask[i]]
        pairs = [value(student[i] - student[j]) for i in rows for j in rows if target[i] > target[j]]
        means += [np.mean(pairs)] if pairs else []
    return np.mean(means)


@pytest.mark.parametrize("task", [0, 1])
def test_pairs_of_observed_rows_are_averaged_by_request(task, inputs, two_tasks):
    given = inputs()
    index, student = given.batch.request_index.numpy(), given.output.logits.detach()[:, task].numpy()
    names = [two_tasks[task].name]
    cases = [
        (RankNet, lambda d: -np.log(expit(d)), LABELS[:, task], OBSERVED[:, task]),
        (Contrastive, lambda d: max(0.0, 1.0 - d), LABELS[:, task], OBSERVED[:, task]),
        (TAUGHT[2], lambda d: -np.log(expit(d)), given.signals.logits[:, task], torch.ones(10)),
        (
            StageOrder,
            lambda d: -np.log(expit(d)),
            torch.where(LABELS[:, task].bool() & OBSERVED[:, task], 4, torch.tensor(STAGE)),
            torch.ones(10),
        ),
    ]
    for make, value, target, mask in cases:
        expected = _mean_over_pairs(student, target.numpy(), mask.numpy(), value, index)
        sums = _ready(make, two_tasks, tasks=names)(given)
        np.testing.assert_allclose(sums.mean().item(), two_tasks[task].weight * expected, rtol=1e-9)


@pytest.mark.parametrize("normalise", [True, False])
def test_gradients_of_lambdarank_are_those_of_its_equation(normalise, make_inputs, generator):
    labels = torch.tensor([2, 0, 1, 1, 3, 0, 1, 0, 1, 4]).double()
    student = torch.randn(10, 1, dtype=torch.float64, generator=generator, requires_grad=True)
    given = make_inputs(student, SIZES, labels=labels.unsqueeze(1), observed=torch.ones(10, 1))
    term = LambdaRank(normalise=normalise)
    term.setup(LossSetting([TaskInfo("grade", 1.0, "graded")], has_signals=False))
    sums = term(given)
    sums.numerators.sum().backward()
    assert sums.denominators.tolist() == [3.0]
    s, y, index = student.detach()[:, 0].numpy(), labels.numpy(), given.batch.request_index.numpy()
    direction = np.zeros(10)
    for r in range(4):
        rows = np.flatnonzero(index == r)
        place = 1 + np.argsort(np.argsort(-s[rows]))
        ideal = ((2.0 ** np.sort(y[rows])[::-1] - 1) / np.log2(np.arange(len(rows)) + 2)).sum() if normalise else 1.0
        for a, i in enumerate(rows):
            for b, j in enumerate(rows):
                if y[i] > y[j]:
                    change = abs(1 / np.log2(1 + place[a]) - 1 / np.log2(1 + place[b])) * abs(2 ** y[i] - 2 ** y[j])
                    force = change / ideal * expit(s[j] - s[i])
                    direction[i] += force
                    direction[j] -= force
    np.testing.assert_allclose(-student.grad[:, 0].numpy(), direction, rtol=1e-9, atol=1e-12)


def test_copr_compares_chunks_of_the_teachers_order(make_inputs):
    teacher = torch.tensor([[5.0], [4.0], [3.0], [2.0]], dtype=torch.float64)
    student = torch.tensor([[0.5], [0.1], [0.9], [0.2]], dtype=torch.float64)
    term = COPR(chunk=2)
    term.setup(LossSetting([TaskInfo("click", 1.0)], has_signals=True))
    discount = 1 / np.log2(np.arange(4) + 2)
    pairs = [(0, 2), (0, 3), (1, 2), (1, 3)]  # gains 2, 2, 1, 1
    importance = np.array([discount[i] - discount[j] for i, j in pairs])
    values = [-np.log(expit(float(student[i, 0] - student[j, 0]))) for i, j in pairs]
    found = term(make_inputs(student, [4], teacher=teacher)).mean().item()
    np.testing.assert_allclose(found, (importance * values).sum() / importance.sum(), rtol=1e-9)
    one_chunk = _ready(COPR, [TaskInfo("click", 1.0)], chunk=4)
    assert one_chunk(make_inputs(student, [4], teacher=teacher)).denominators.tolist() == [0.0]


def test_unkd_compares_items_that_are_about_as_popular(make_inputs):
    """Of popular items 0 and 1, unpopular 2 and 3 and one never seen (9), only pairs of a group count, groups alike;
    in the second request the popular group has no pair, and so no say."""
    student = torch.tensor([[0.5], [0.1], [0.9], [0.2], [0.4], [0.7], [0.3], [0.6]], dtype=torch.float64)
    teacher = torch.tensor([[5.0], [4.0], [3.0], [2.0], [1.0], [3.0], [2.0], [1.0]], dtype=torch.float64)
    given = make_inputs(student, [5, 3], teacher=teacher, item_id=[0, 1, 2, 3, 9, 0, 2, 3])
    s = student[:, 0].numpy()
    groups = [[(0, 1)], [(2, 3), (2, 4), (3, 4)], [(6, 7)]]
    popular, others, second = ([-np.log(expit(s[i] - s[j])) for i, j in pairs] for pairs in groups)
    expected = ((np.mean(popular) + np.mean(others)) / 2 + np.mean(second)) / 2
    term = _ready(UnKD, [TaskInfo("click", 1.0)], groups=2)
    np.testing.assert_allclose(term(given).mean().item(), expected, rtol=1e-9)


def test_rank_flow_teaches_what_the_student_passes_on(make_inputs):
    """Of five candidates the student passes on three (0, 2, 4); the teacher's best of these is 4, its worst 2. Of the
    second request it passes on both, the best 1, and the last is not scored."""
    student = torch.tensor([[0.9], [0.1], [0.7], [0.2], [0.4], [0.3], [0.6], [9.0]], dtype=torch.float64)
    teacher = torch.tensor([[2.0], [9.0], [1.0], [8.0], [3.0], [1.0], [2.0], [np.nan]], dtype=torch.float64)
    valid = torch.tensor([True] * 7 + [False])
    given = make_inputs(student.requires_grad_(), [5, 3], teacher=teacher, valid=valid)
    first = np.mean(np.square([0.9 - 2, 0.7 - 1, 0.4 - 3])) - np.log(expit(0.4 - 0.7))
    second = np.mean(np.square([0.3 - 1, 0.6 - 2])) - np.log(expit(0.6 - 0.3))
    term = _ready(RankFlow, [TaskInfo("click", 1.0)], passed=3, best=1, worst=1)
    loss = term(given).mean()
    np.testing.assert_allclose(loss.item(), (first + second) / 2, rtol=1e-9)
    loss.backward()
    assert (student.grad[:, 0] != 0).tolist() == [True, False, True, False, True, True, True, False]


def test_rank_flow_without_a_rest_compares_scores_alone(make_inputs):
    student, teacher = torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0], [3.0]])
    for best, expected in ((2, 5.0), (1, 5.0 - np.log(expit(-1.0)))):
        term = _ready(RankFlow, [TaskInfo("click", 1.0)], passed=None, best=best)
        np.testing.assert_allclose(term(make_inputs(student, [2], teacher=teacher)).mean().item(), expected, rtol=1e-6)


def test_clid_compares_shares_of_probabilities(make_inputs):
    student, teacher = torch.tensor([[[0.5], [-1.0], [2.0]], [[-2.0], [0.0], [1.0]]], dtype=torch.float64)
    q, p = (v[:, 0].sigmoid() / v.sigmoid().sum() for v in (teacher, student))
    term = _ready(CLID, [TaskInfo("click", 1.0)])
    found = term(make_inputs(student, [3], teacher=teacher)).mean().item()
    np.testing.assert_allclose(found, (q * (q / p).log()).sum().item(), rtol=1e-9)
    half = (teacher.sigmoid() / 2).logit()  # a common factor of all probabilities changes no share
    assert abs(term(make_inputs(half, [3], teacher=teacher)).mean().item()) < 1e-12


def test_positives_are_labelled_exposed_or_the_teachers_best(make_inputs):
    student = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)
    own = {"teacher": torch.tensor([[3.0], [1.0], [2.0]]).double(), "labels": [[0], [1], [1]]}
    own |= {"observed": [[1], [1], [0]], "stage": [Stage.RANKED, Stage.RECALLED, Stage.EXPOSED]}
    for arguments, best in (
        ({}, 1),
        ({"positives": "exposed"}, 2),
        ({"positives": "teacher", "top": 1}, 0),
    ):
        term = _ready(MultiPositiveSoftmax, [TaskInfo("click", 1.0)], **arguments)
        expected = -torch.log_softmax(student[:, 0], 0)[best].item()
        np.testing.assert_allclose(term(make_inputs(student, [3], **own)).mean().item(), expected, rtol=1e-9)
    assert not MultiPositiveSoftmax().uses_signals


@pytest.mark.parametrize("make", [TAUGHT[1], MarginMSE])
def test_soft_pairs_are_zero_at_agreement(make, make_inputs, two_tasks, generator):
    teacher = torch.randn(10, 2, generator=generator)
    student = teacher.clone().requires_grad_()
    mean = _ready(make, two_tasks)(make_inputs(student, SIZES, teacher=teacher)).mean()
    mean.backward()
    assert mean.item() < 1e-12
    assert student.grad.abs().max() < 1e-6


@pytest.mark.parametrize("make", [TAUGHT[2], ListMLE, *TAUGHT[5:8], *TAUGHT[9:14]])
def test_order_of_the_teacher_lowers_the_loss(make, make_inputs, two_tasks, generator):
    teacher = torch.randn(10, 2, generator=generator)
    term = _ready(make, two_tasks)
    right, wrong = (term(make_inputs(sign * 3 * teacher, SIZES, teacher=teacher)).mean().item() for sign in (1, -1))
    assert 0 <= right < wrong


@pytest.mark.parametrize("make", ALL)
def test_what_holds_for_every_term(make, inputs, make_inputs, two_tasks):
    term = _ready(make, two_tasks)
    given = inputs(valid=[True] * 9 + [False])
    sums = term(given)
    sums.mean().backward()
    gradient = given.output.logits.grad
    acts = term.acts_on(given.batch, given.signals)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0
    assert (gradient[~acts] == 0).all()
    empty = inputs(weight=[0.0] * 10)
    nothing = term(empty)
    assert nothing.numerators.tolist() == nothing.denominators.tolist() == [0.0, 0.0]
    nothing.mean().backward()
    assert empty.output.logits.grad.abs().max() == 0
    half = inputs(dtype=torch.bfloat16)
    assert term(half).numerators.dtype == torch.float32
    one = make_inputs(torch.zeros(1, 2), [1], teacher=torch.zeros(1, 2))
    assert term(one).mean().isfinite()
    with pytest.raises(ConfigError, match="before `setup`"):
        make()(given)


@pytest.mark.parametrize("make", ALL)
def test_requests_are_weighted_and_independent(make, make_inputs, two_tasks, generator):
    """The sums of a batch are the sums of its requests, and a request of twice the weight counts twice."""
    student, teacher = torch.randn(2, 10, 2, dtype=torch.float64, generator=generator).unbind()
    weight = torch.tensor([2.0] * 4 + [1.0] + [0.5] * 3 + [3.0] * 2)
    whole = {"teacher": teacher, "labels": LABELS, "observed": OBSERVED, "stage": torch.tensor(STAGE), "weight": weight}
    whole["item_id"] = torch.arange(10)
    term = _ready(make, two_tasks)
    together = term(make_inputs(student, SIZES, **whole))
    numerators, denominators = torch.zeros(2).double(), torch.zeros(2).double()
    for rows in torch.arange(10).split(SIZES):
        part = {name: value[rows] for name, value in whole.items()}
        sums = term(make_inputs(student[rows], [len(rows)], **part))
        numerators, denominators = numerators + sums.numerators, denominators + sums.denominators
    torch.testing.assert_close(together.numerators, numerators)
    torch.testing.assert_close(together.denominators, denominators)


@pytest.mark.parametrize("make", TAUGHT)
def test_no_gradient_reaches_the_teacher(make, make_inputs, two_tasks, generator):
    student, teacher = (torch.randn(10, 2, generator=generator, requires_grad=True) for _ in range(2))
    term = _ready(make, two_tasks)
    assert term.uses_signals
    term(make_inputs(student, SIZES, teacher=teacher)).mean().backward()
    assert teacher.grad is None
    with pytest.raises(ConfigError, match="needs teacher signals"):
        make().setup(LossSetting(two_tasks, has_signals=False))


@pytest.mark.parametrize("make", [*LABELLED, *OTHERS])
def test_terms_on_labels_and_stages_want_no_teacher(make, two_tasks):
    term = make()
    term.setup(LossSetting(two_tasks, has_signals=False))
    assert not term.uses_signals


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (lambda: TeacherRankNet(target="hard"), "TeacherRankNet"),
        (lambda: TeacherRankNet(target="order", temperature=2.0), "TeacherRankNet.temperature"),
        (lambda: TeacherRankNet(min_margin=0.1), "TeacherRankNet.min_margin"),
        (lambda: Contrastive(form="cosine"), "Contrastive"),
        (lambda: Contrastive(margin=0.0), "Contrastive"),
        (lambda: COPR(chunk=0), "COPR.chunk"),
        (lambda: LambdaRank(cutoff=0), "LambdaRank.cutoff"),
        (lambda: RRD(top=0), "RRD.top"),
        (lambda: MultiPositiveSoftmax(positives="teacher"), "MultiPositiveSoftmax"),
        (lambda: MultiPositiveSoftmax(top=3), "MultiPositiveSoftmax"),
        (lambda: JRC(alpha=1.5), "JRC.alpha"),
        (lambda: ListNet(temperature=0.0), "ListNet.temperature"),
        (lambda: UnKD(groups=1), "UnKD.groups"),
        (lambda: RankFlow(passed=20), "RankFlow.best"),
        (lambda: RankFlow(worst=0), "RankFlow.worst"),
        (lambda: RankFlow(passed=0), "RankFlow.passed"),
    ],
)
def test_impossible_options_are_refused(make, where):
    with pytest.raises(ConfigError) as error:
        make()
    assert error.value.where == where


def test_jrc_wants_binary_tasks():
    with pytest.raises(ConfigError, match="binary"):
        JRC().setup(LossSetting([TaskInfo("grade", 1.0, "graded")], has_signals=False))


def test_cutoff_keeps_pairs_near_the_top(make_inputs):
    student = torch.tensor([[3.0], [2.0], [1.0], [0.0]], requires_grad=True)
    term = _ready(LambdaRank, [TaskInfo("click", 1.0)], cutoff=1)
    given = make_inputs(student, [4], labels=[[0], [0], [0], [1]])
    term(given).mean().backward()
    assert (student.grad != 0).flatten().tolist() == [True, False, False, True]


def _graded(make_inputs, labels):
    student = torch.zeros(len(labels), 1, requires_grad=True)
    term = LambdaRank(normalise=False)
    term.setup(LossSetting([TaskInfo("grade", 1.0, "graded")], has_signals=False))
    return student, term, make_inputs(student, [len(labels)], labels=[[y] for y in labels])


def test_lambdarank_is_finite_up_to_the_greatest_grade(make_inputs):
    student, term, given = _graded(make_inputs, [50, 0, 0])
    loss = term(given).mean()
    loss.backward()
    discount = 1 / np.log2(np.arange(3) + 2)
    change = (2.0**50 - 1) * (discount[0] - discount[1:])
    np.testing.assert_allclose(loss.item(), np.log(2) * change.sum(), rtol=1e-6)
    np.testing.assert_allclose(student.grad[:, 0].numpy(), [-change.sum() / 2, *(change / 2)], rtol=1e-6)


@pytest.mark.parametrize("label", [51.0, 128.0, 1000.0, -1.0])
def test_lambdarank_refuses_labels_without_a_finite_gain(label, make_inputs):
    """2^128 is infinite in float32: the loss was 0 and its gradient NaN."""
    _, term, given = _graded(make_inputs, [0, 1, label])
    with pytest.raises(DataError, match=rf"task grade, row 2 of(.|\n)*\[0, 50\](.|\n)*found: +{label:g}"):
        term(given)
    unobserved = replace(given, batch=replace(given.batch, observed=torch.tensor([[True], [True], [False]])))
    assert term(unobserved).mean().isfinite()


def test_lambdarank_refuses_tasks_of_any_value():
    tasks = [TaskInfo("click", 1.0), TaskInfo("seconds", 1.0, "value")]
    with pytest.raises(ConfigError, match=r"binary or graded(.|\n)*expected: +click(.|\n)*found: +seconds"):
        LambdaRank().setup(LossSetting(tasks, has_signals=False))
    LambdaRank(tasks=["click"]).setup(LossSetting(tasks, has_signals=False))


@pytest.mark.parametrize("make", ALL)
def test_terms_that_compare_say_so(make, make_inputs, two_tasks):
    """A request of one candidate teaches them nothing; the others have a value."""
    given = make_inputs(
        torch.randn(4, 2), [1] * 4, teacher=torch.randn(4, 2), labels=torch.tensor([[1, 0]] * 4), stage=[3] * 4
    )
    sums = _ready(make, two_tasks)(given)
    assert make().compares == (sums.numerators.abs().sum() == 0)
