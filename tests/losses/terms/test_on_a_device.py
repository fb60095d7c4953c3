"""What terms compute where the host may not look at values is what they compute where it may."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from distill.data.popularity import ItemExposures
from distill.list_sizes import ListSizes
from distill.losses import LossInputs, LossTerm
from distill.losses.setting import LossSetting, TaskInfo
from distill.losses.terms import (
    COPR,
    Contrastive,
    JointTopK,
    LambdaRank,
    NeuralSort,
    RankNet,
    Relational,
    RelaxedTopK,
    StageOrder,
    TeacherRankNet,
    UnKD,
)
from distill.losses.terms.lists import lists_of
from distill.ops import pairs
from distill.ops.waiting import as_on_a_device
from tests.losses.conftest import build_inputs
from tests.no_sync import waits

TASKS = [TaskInfo("click", 1.0), TaskInfo("buy", 0.5)]
SHAPES = [(4, 1, 3, 2), (), (1,), (0, 7), (40, 2, 33, 0, 7, 1, 1, 25), (5,) * 9]
EXPOSURES = ItemExposures(torch.arange(40), 1 + torch.arange(40) % 5)
TERMS: dict[str, Callable[[], LossTerm]] = {
    "RankNet": RankNet,
    "RankNet of a task": lambda: RankNet(tasks=["buy"]),
    "hinge": Contrastive,
    "squared": lambda: Contrastive(form="squared"),
    "LambdaRank": LambdaRank,
    "LambdaRank of the first": lambda: LambdaRank(normalise=False, cutoff=2),
    "COPR": lambda: COPR(chunk=2),
    "NeuralSort": NeuralSort,
    "RelaxedTopK": lambda: RelaxedTopK(top=1, keep=2),
    "arf": lambda: RelaxedTopK(top=2, form="arf"),
    "JointTopK": lambda: JointTopK(top=1),
    "UnKD": lambda: UnKD(groups=3),
    "StageOrder": StageOrder,
    "soft pairs": lambda: TeacherRankNet(temperature=2.0),
    "ordered pairs": lambda: TeacherRankNet(target="order", min_margin=0.1),
    "Relational": Relational,
}


def ready(name: str) -> LossTerm:
    term = TERMS[name]()
    widths = {"request": 2, "candidate": 3}
    term.setup(
        LossSetting(
            TASKS,
            has_signals=True,
            student_vectors=lambda: widths,
            teacher_vectors=lambda: {"body": 4},
            exposures=lambda: EXPOSURES,
        )
    )
    return term.double()


def inputs_of(sizes: tuple[int, ...], seed: int = 0) -> tuple[LossInputs, list[Tensor]]:
    """Inputs with rows of weight 0, unlabelled and unscored ones; and what gets a gradient."""
    draw, rows = torch.Generator().manual_seed(seed), sum(sizes)

    def normal(width: int) -> Tensor:
        return torch.randn(rows, width, dtype=torch.float64, generator=draw)

    def chance(share: float, *shape: int) -> Tensor:
        return torch.rand(rows, *shape, generator=draw) < share

    logits, teacher, hidden = normal(2), normal(2), {"request": normal(2), "candidate": normal(3)}
    observed = chance(0.8, 2)
    made = build_inputs(
        logits.requires_grad_(),
        sizes,
        teacher=teacher,
        valid=chance(0.8),
        labels=chance(0.4, 2) & observed,
        observed=observed,
        weight=torch.where(chance(0.15), 0.0, 1.5),
        stage=torch.randint(0, 4, (rows,), generator=draw),
        item_id=torch.randint(0, 40, (rows,), generator=draw),
    )
    assert made.signals is not None
    made = replace(
        made,
        output=replace(made.output, hidden={name: value.requires_grad_() for name, value in hidden.items()}),
        signals=replace(made.signals, hidden={"body": normal(4)}),
    )
    return made, [logits, *hidden.values()]


def measured(inputs: LossInputs, coarse: bool = False) -> LossInputs:
    batch = inputs.batch.measured()
    assert batch.sizes is not None
    return replace(inputs, batch=replace(batch, sizes=batch.sizes.coarse() if coarse else batch.sizes))


def computed(term: LossTerm, inputs: LossInputs, leaves: list[Tensor], on_a_device: bool) -> list[Any]:
    """The sums, and the gradients of their weighted numerators."""
    with as_on_a_device() if on_a_device else nullcontext():
        sums = term(inputs)
        total = (sums.numerators * sums.weights).sum()
        found = torch.autograd.grad(total, leaves, allow_unused=True) if total.requires_grad else [None] * len(leaves)
    zeros = [torch.zeros_like(leaf) for leaf in leaves]
    gradients = [zero if own is None else own for own, zero in zip(found, zeros, strict=True)]
    return [sums.numerators.detach(), sums.denominators, *gradients]


@pytest.mark.parametrize("sizes", SHAPES)
@pytest.mark.parametrize("name", TERMS)
def test_sums_and_gradients_are_those_of_the_host(name: str, sizes: tuple[int, ...]) -> None:
    term = ready(name)
    given, leaves = inputs_of(sizes)
    wanted = computed(term, given, leaves, on_a_device=False)
    for known in (measured(given), measured(given, coarse=True), given):
        torch.testing.assert_close(computed(term, known, leaves, on_a_device=True), wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", TERMS)
def test_however_pairs_are_cut_into_blocks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    term = ready(name)
    given, leaves = inputs_of((40, 2, 33, 0, 7, 1, 1, 25))
    wanted = computed(term, given, leaves, on_a_device=False)
    for most, cost in ((90, 0), (700, 100)):
        monkeypatch.setattr(pairs, "PLANNED_PAIRS", most)
        monkeypatch.setattr(pairs, "BLOCK_PAIRS", most)
        monkeypatch.setattr(pairs, "_BLOCK_COST", cost)
        pairs._parts.cache_clear()
        found = computed(term, measured(given), leaves, on_a_device=True)
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
    pairs._parts.cache_clear()


@pytest.mark.parametrize("name", TERMS)
def test_a_batch_of_which_nothing_is_known_waits_and_one_that_is_measured_does_not(name: str) -> None:
    term = ready(name)
    given, _ = inputs_of((4, 1, 3, 2))
    known = measured(given)
    with waits() as found:
        term(known)
    assert found == []
    with waits() as found:
        term(given)
    assert found


class Exact(RankNet):
    """A term of somebody's own that wants its rows without padding."""

    over_pairs = False
    needs_shapes = True


def test_a_term_that_needs_shapes_has_rows_without_padding() -> None:
    term = Exact()
    term.setup(LossSetting(TASKS))
    given, _ = inputs_of((4, 1, 3, 2))
    wanted = lists_of(term, given, term.observed(given))
    with as_on_a_device():
        found = lists_of(term, measured(given), term.observed(given))
    assert found.plan is None
    assert torch.equal(found.row, wanted.row)
    assert torch.equal(found.counts, wanted.counts)


def test_a_label_without_a_gain_shows_in_the_loss_where_nobody_looks() -> None:
    term = LambdaRank()
    term.setup(LossSetting([TaskInfo("grade", 1.0, "graded")], has_signals=False))
    student = torch.zeros(4, 1, requires_grad=True)
    given = measured(build_inputs(student, [3, 1], labels=[[200], [0], [1], [2]]))
    unseen = replace(given, batch=replace(given.batch, observed=torch.tensor([[False], [True], [True], [True]])))
    with as_on_a_device():
        assert not bool(term(given).mean().isfinite())
        assert bool(term(unseen).mean().isfinite())


def test_the_sizes_of_a_batch() -> None:
    observed = [[1, 0], *[[1, 1]] * 6]
    given = build_inputs(torch.zeros(7, 2), [3, 0, 4], labels=[[1, 1], [1, 1], *[[0, 2]] * 5], observed=observed)
    assert given.batch.measured().sizes == ListSizes(4, 9 + 16, 1 + 2 + 5)
    assert build_inputs(torch.zeros(0, 2), [0, 0]).batch.measured().sizes == ListSizes(0, 0, 0)
