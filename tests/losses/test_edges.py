"""Values at the edges of terms: what a changed sign, constant or comparison would give otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
import torch
from scipy.special import expit

from distill.batch import Penalty, RankerOutput
from distill.errors import ConfigError
from distill.losses import CompositeLoss, LossTerm, TaskInfo
from distill.losses.functional.relational import relational
from distill.losses.functional.sampled_softmax import sampled_softmax
from distill.losses.setting import LossSetting
from distill.losses.terms import (
    COPR,
    DE,
    JRC,
    RRD,
    BernoulliKL,
    HardBCE,
    HardMSE,
    LambdaRank,
    ListMLE,
    ListNet,
    LogitMSE,
    MarginMSE,
    MultiPositiveSoftmax,
    ProbMSE,
    RankNet,
    SampledSoftmax,
    SoftCE,
    SoftmaxKL,
)
from tests.losses.conftest import InputsFactory

CLICK = [TaskInfo("click", 1.0)]


def ready(
    term: LossTerm, student: Mapping[str, int] = MappingProxyType({}), teacher: Mapping[str, int] = MappingProxyType({})
) -> LossTerm:
    """Sets a term up for hidden vectors of these widths."""
    term.setup(LossSetting(CLICK, True, student_vectors=lambda: student, teacher_vectors=lambda: teacher))
    return term


def sampled(alpha: float = 0.05, buckets: int = 10) -> SampledSoftmax:
    term = SampledSoftmax(alpha=alpha, buckets=buckets)
    ready(term, {"request": 2, "candidate": 2})
    return term


def _step(term: SampledSoftmax, make_inputs: InputsFactory, step: int) -> None:
    given = make_inputs(torch.zeros(1, 1), [1], labels=[[1]], step=step)
    hidden = {"request": torch.ones(1, 2), "candidate": torch.ones(1, 2)}
    term(replace(given, output=replace(given.output, hidden=hidden)))


@pytest.mark.parametrize(("first", "gap"), [(0, 1.0), (10, 11.0)])
def test_the_first_sight_of_an_item_counts_from_the_beginning(
    first: int, gap: float, make_inputs: InputsFactory
) -> None:
    term = sampled()
    _step(term, make_inputs, first)
    assert term.gap[0].item() == gap
    _step(term, make_inputs, first)  # the same step again changes nothing
    assert term.gap[0].item() == gap
    _step(term, make_inputs, first + 4)
    assert term.gap[0].item() == pytest.approx(0.95 * gap + 0.05 * 4)
    assert term.last_seen.tolist() == [first + 4] + [-1] * 9


def test_sampled_softmax_takes_one_bucket_and_refuses_none_and_towers_of_two_widths() -> None:
    assert sampled(alpha=1.0, buckets=1).gap.shape == (1,)
    with pytest.raises(ConfigError, match="buckets=0"):
        SampledSoftmax(buckets=0)
    for widths in ({"request": 4, "candidate": 8}, {"candidate": 4}, {"request": 4}):
        with pytest.raises(ConfigError, match="same width"):
            ready(SampledSoftmax(buckets=1), widths)


def test_frequencies_get_no_gradient() -> None:
    log_q = torch.zeros(3, requires_grad=True)
    u, v = torch.ones(3, 2, requires_grad=True), torch.eye(3)[:, :2]
    ids = torch.arange(3)
    sampled_softmax(u, v, ids, ids, log_q).sum().backward()
    assert log_q.grad is None
    assert u.grad is not None


def test_a_term_on_labels_acts_on_rows_that_the_teacher_did_not_score(make_inputs: InputsFactory) -> None:
    given = make_inputs(
        torch.zeros(3, 1), [3], teacher=torch.zeros(3, 1), valid=[True, False, True], observed=[[1], [1], [0]]
    )
    for term, rows in ((HardBCE(), [0, 1]), (RankNet(), [0, 1]), (HardMSE(), [0, 1]), (LogitMSE(), [0, 2])):
        assert ready(term).acts_on(given.batch, given.signals).nonzero().flatten().tolist() == rows
    loss = CompositeLoss({"hard": HardBCE(), "soft": LogitMSE(), "asleep": SoftmaxKL(weight=0.0)})
    loss.setup(LossSetting(CLICK, has_signals=True))
    assert loss.acts_on(given.batch, given.signals, 0).all()
    alone = CompositeLoss({"hard": HardBCE(), "asleep": LogitMSE(weight=0.0)})
    alone.setup(LossSetting(CLICK, has_signals=True))
    assert alone.acts_on(given.batch, given.signals, 0).tolist() == [True, True, False]


def test_weights_of_rows_get_no_gradient(make_inputs: InputsFactory) -> None:
    weight = torch.ones(3, requires_grad=True)
    logits = torch.ones(3, 1, requires_grad=True)
    given = make_inputs(logits, [3])
    ready(HardBCE())(replace(given, batch=replace(given.batch, weight=weight))).mean().backward()
    assert weight.grad is None


def test_lists_of_two_rows_take_part_and_lists_of_one_do_not(make_inputs: InputsFactory) -> None:
    student, teacher = torch.tensor([[3.0], [1.0], [5.0]]).double(), torch.tensor([[1.0], [0.5], [0.0]]).double()
    given = make_inputs(student, [2, 1], teacher=teacher, labels=[[1], [0], [1]])
    both = (np.log1p(np.exp(-3.0)) + np.log1p(np.exp(1.0))) / 2
    order = (np.log1p(np.exp(-1.0)) + np.log1p(np.exp(-1.0))) / 2
    for term, expected in (
        (MarginMSE(), (2 - 0.5) ** 2),
        (ListMLE(), -np.log(expit(2.0)) / 2),
        (RankNet(), -np.log(expit(2.0))),
        (JRC(alpha=0.25), 0.25 * both + 0.75 * order),
    ):
        sums = ready(term)(given)
        assert sums.denominators.tolist() == [1.0]
        assert sums.mean().item() == pytest.approx(expected)


def test_what_the_model_adds_itself_is_added_once(make_inputs: InputsFactory) -> None:
    loss = CompositeLoss({"hard": HardBCE()})
    loss.setup(LossSetting(CLICK, has_signals=False))
    given = make_inputs(torch.zeros(2, 1), [2])
    output = RankerOutput(given.output.logits, {}, {"own": Penalty(torch.tensor(0.5), torch.tensor(2.0))})
    report = loss(replace(given, output=output))
    assert report.total.item() == pytest.approx(np.log(2) + 0.25)
    assert report.parts["penalty_own"].item() == 0.25
    assert report.weights == {"hard": 1.0, "penalty_own": 1.0}


def test_what_terms_read() -> None:
    on_probabilities = {BernoulliKL, SoftCE, LogitMSE, ProbMSE}
    for kind in (HardBCE, HardMSE, RankNet, JRC, MarginMSE, ListMLE, SoftmaxKL, *on_probabilities):
        assert kind.needs_probabilities == (kind in on_probabilities)
        assert kind.needs_signals == (kind not in (HardBCE, HardMSE, RankNet, JRC))
    for tasks in ("click", [1], [None]):
        with pytest.raises(ConfigError, match="list of names"):
            HardBCE(tasks=tasks)  # type: ignore[arg-type]


def test_lambdarank_keeps_pairs_of_which_one_is_before_the_cutoff(make_inputs: InputsFactory) -> None:
    student = torch.tensor([[3.0], [2.0], [1.0], [0.0]], requires_grad=True)
    ready(LambdaRank(cutoff=1))(make_inputs(student, [4], labels=[[0], [1], [0], [0]])).mean().backward()
    assert student.grad is not None
    assert (student.grad != 0).flatten().tolist() == [True, True, False, False]


def test_listnet_leaves_out_lists_whose_labels_say_nothing(make_inputs: InputsFactory) -> None:
    student = torch.tensor([[0.0], [2.0], [1.0], [5.0], [7.0], [1.0], [2.0]]).double()
    labels = [[1], [0], [1], [1], [1], [0], [0]]
    sums = ready(ListNet())(make_inputs(student, [2, 2, 1, 0, 2], labels=labels))
    assert sums.denominators.tolist() == [1.0]
    wanted, found = np.exp([1.0, 0.0]) / (1 + np.e), np.log(np.exp([0.0, 2.0]) / (1 + np.exp(2.0)))
    assert sums.mean().item() == pytest.approx(-(wanted * found).sum())


@pytest.mark.parametrize("alike", ["student", "teacher"])
def test_lists_without_distances_are_of_no_pair(alike: str) -> None:
    vectors = {"student": torch.randn(3, 2), "teacher": torch.randn(3, 4)}
    vectors[alike] = torch.ones_like(vectors[alike])
    student = vectors["student"].requires_grad_()
    sums, number = relational(student, vectors["teacher"], torch.zeros(3, dtype=torch.int64), torch.tensor([3]))
    assert sums.tolist() == [0.0]
    assert number.tolist() == [0.0]
    sums.sum().backward()
    assert student.grad is not None
    assert student.grad.abs().max() == 0


def test_least_sizes_are_taken() -> None:
    assert COPR(chunk=1).chunk == 1
    assert RRD(top=1).top == 1
    term = DE(student="mlp", num_experts=1)
    ready(term, {"mlp": 3}, {"body": 5})
    assert [tuple(p.shape) for p in term.experts[0].parameters()] == [(4, 3), (4,), (5, 4), (5,)]


def test_experts_are_drawn_by_gumbel_noise(make_inputs: InputsFactory) -> None:
    """As τ falls, expert m gets the share p_m of the rows: max-stable noise, which its mirror image is not."""
    torch.manual_seed(0)
    count, p = 20_000, torch.tensor([0.6, 0.3, 0.1])
    term = DE(student="mlp", num_experts=3, temperature=1e-4)
    ready(term, {"mlp": 1}, {"body": 1})
    assert term.select is not None
    torch.nn.init.zeros_(term.select.weight)
    term.select.bias.data = p.log()
    for expert, value in zip(term.experts, (1.0, 10.0, 100.0), strict=True):
        torch.nn.init.zeros_(expert[2].weight)
        torch.nn.init.constant_(expert[2].bias, value)
    given = make_inputs(torch.zeros(count, 1), [count], teacher=torch.zeros(count, 1))
    zeros = torch.zeros(count, 1)
    assert given.signals is not None
    given = replace(
        given,
        output=replace(given.output, hidden={"mlp": zeros}),
        signals=replace(given.signals, hidden={"body": zeros}),
    )
    squares = torch.tensor([1.0, 100.0, 10_000.0])
    assert term(given).mean().item() == pytest.approx(float((p * squares).sum()), rel=0.05)


@pytest.mark.parametrize(
    ("labels", "moved"), [([1, 0, 0, 1], [0, 1, 2]), ([0, 1, 0, 0], [0, 1]), ([0, 0, 1, 1], [0, 2, 3])]
)
def test_a_cutoff_of_one_keeps_the_pairs_of_the_first(
    labels: list[int], moved: list[int], make_inputs: InputsFactory
) -> None:
    """Be the first the better or the worse of a pair."""
    student = torch.tensor([[3.0], [2.0], [1.0], [0.0]], requires_grad=True)
    ready(LambdaRank(cutoff=1))(make_inputs(student, [4], labels=[[y] for y in labels])).mean().backward()
    assert student.grad is not None
    assert student.grad.flatten().nonzero().flatten().tolist() == moved


def test_negatives_that_were_drawn_are_corrected_for_how_likely_that_was(make_inputs: InputsFactory) -> None:
    """-log e^{s_0 - q_0} / (e^{s_0 - q_0} + Σ e^{s_j - q_j}) with log q of the draws, where a row was drawn."""
    student = torch.tensor([[0.3], [-0.2], [1.1]]).double()
    log_q = torch.tensor([0.0, -2.0, -0.5])
    given = make_inputs(student, [3], labels=[[1], [0], [0]])
    given = replace(given, batch=replace(given.batch, log_q=log_q))
    for subtract, scores in ((True, student[:, 0] - log_q), (False, student[:, 0])):
        term = ready(MultiPositiveSoftmax(subtract_log_q=subtract))
        expected = -torch.log_softmax(scores.double(), 0)[0].item()
        assert term(given).mean().item() == pytest.approx(expected)
    without = replace(given, batch=replace(given.batch, log_q=None))
    plain = -torch.log_softmax(student[:, 0], 0)[0].item()
    assert ready(MultiPositiveSoftmax(subtract_log_q=True))(without).mean().item() == pytest.approx(plain)


def test_whose_positives_are_meant_says_what_is_read_and_on_which_rows(make_inputs: InputsFactory) -> None:
    of_label, of_teacher = MultiPositiveSoftmax(), MultiPositiveSoftmax(positives="teacher", top=1)
    exposed = MultiPositiveSoftmax(positives="exposed")
    assert [term.uses_signals for term in (of_label, of_teacher, exposed)] == [False, True, False]
    assert [term.reads_scores for term in (of_label, of_teacher, exposed)] == [False, True, False]
    assert [ready(term).label_tasks for term in (of_label, of_teacher, exposed)] == [("click",), (), ()]
    two = LossSetting([*CLICK, TaskInfo("buy", 1.0)], True, student_vectors=lambda: {"request": 2, "candidate": 2})
    first, second = SampledSoftmax(), SampledSoftmax(task="buy")
    for term in (first, second):
        term.setup(two)
    assert [term.label_tasks for term in (first, second)] == [("click",), ("buy",)]
    given = make_inputs(torch.zeros(3, 1), [3], teacher=torch.zeros(3, 1), valid=[True, False, True])
    assert of_teacher.acts_on(given.batch, given.signals).tolist() == [True, False, True]
    assert of_label.acts_on(given.batch, given.signals).tolist() == [True, True, True]
    assert of_teacher.acts_on(given.batch, None).tolist() == [True, True, True]
    with pytest.raises(ConfigError, match="top=0"):
        MultiPositiveSoftmax(positives="teacher", top=0)


def test_lists_of_one_say_nothing_of_an_order(make_inputs: InputsFactory) -> None:
    given = make_inputs(torch.tensor([[1.0], [0.0], [2.0]]), [1, 2], teacher=torch.tensor([[0.0], [1.0], [0.0]]))
    sums = ready(ListMLE())(given)
    assert sums.denominators.tolist() == [1.0]
    assert sums.mean().item() == pytest.approx(float(np.log1p(np.exp(2.0))) / 2)


def test_an_item_seen_at_the_first_step_is_known_from_then_on(make_inputs: InputsFactory) -> None:
    term = sampled(alpha=0.5)
    _step(term, make_inputs, 0)
    _step(term, make_inputs, 5)
    assert term.gap[0] == 0.5 * 1.0 + 0.5 * 5.0


def test_a_learned_weight_counts_if_any_task_of_its_term_has_rows(make_inputs: InputsFactory) -> None:
    loss = CompositeLoss({"hard": HardBCE()}, weighting="uncertainty")
    loss.setup(LossSetting([TaskInfo("click", 1.0), TaskInfo("buy", 1.0)]))
    given = make_inputs(torch.zeros(2, 2), [2], observed=[[1, 0], [1, 0]])
    loss(given).total.backward()
    assert loss.log_variances is not None
    gradient = loss.log_variances["hard"].grad
    assert gradient is not None
    assert gradient.item() == pytest.approx(0.5 - np.log(2))  # of e^-s L + s/2 at s = 0
