"""What the weight of a row means to each loss term: the same as rows or requests that come more than once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch

from distill.data.popularity import ItemExposures
from distill.losses import terms as all_terms
from distill.losses.setting import LossSetting
from distill.losses.terms import (
    CLID,
    COPR,
    DE,
    JRC,
    RRD,
    BernoulliKL,
    Contrastive,
    HardBCE,
    HardMSE,
    Hint,
    ItemContrast,
    JointTopK,
    LambdaRank,
    ListMLE,
    ListNet,
    LogitMSE,
    LossInputs,
    LossTerm,
    MarginMSE,
    MultiPositiveSoftmax,
    NeuralSort,
    ProbMSE,
    RankFlow,
    RankNet,
    Relational,
    RelaxedTopK,
    SampledSoftmax,
    SoftCE,
    SoftmaxKL,
    StageOrder,
    TaskInfo,
    TeacherRankNet,
    TieredContrast,
    UnKD,
)
from tests.losses.conftest import build_inputs

OF_ROWS: list[Callable[[], LossTerm]] = [
    HardBCE,
    lambda: HardBCE(task_weighting="uncertainty"),
    HardMSE,
    BernoulliKL,
    SoftCE,
    LogitMSE,
    ProbMSE,
    Hint,
    lambda: DE(num_experts=1),  # several are chosen at random
]
"""Terms whose sums have one value a row."""

OF_REQUESTS: list[Callable[[], LossTerm]] = [
    RankNet,
    TeacherRankNet,
    lambda: TeacherRankNet(target="order"),
    MarginMSE,
    Contrastive,
    lambda: Contrastive(form="squared"),
    StageOrder,
    lambda: COPR(chunk=2),
    SoftmaxKL,
    ListNet,
    ListMLE,
    lambda: RRD(top=2),
    LambdaRank,
    MultiPositiveSoftmax,
    JRC,
    CLID,
    NeuralSort,
    lambda: RelaxedTopK(top=2),
    lambda: RelaxedTopK(top=1, keep=2, form="arf"),
    lambda: JointTopK(top=2),
    lambda: UnKD(groups=2),
    lambda: RankFlow(passed=3, best=1, worst=1),
    TieredContrast,
    lambda: TieredContrast(harmonise=False),
    Relational,
]
"""Terms whose sums have one value a request, which counts by the mean weight of its rows."""

SIZES = [4, 3, 5]
N = sum(SIZES)


def ready(make: Callable[[], LossTerm]) -> LossTerm:
    torch.manual_seed(0)
    term = make()
    tasks = [TaskInfo("click", 1.0), TaskInfo("buy", 0.5)]
    widths = {"request": 2, "candidate": 2}
    seen = ItemExposures(torch.arange(N), torch.arange(N) % 3 + 1)
    setting = LossSetting(tasks, True, student_vectors=lambda: widths, teacher_vectors=lambda: {"body": 3})
    term.setup(replace(setting, exposures=lambda: seen))
    return term.double().eval()


def given(weight: Sequence[float], rows: Sequence[int] | None = None, sizes: Sequence[int] = SIZES) -> LossInputs:
    """Inputs of the chosen of twelve rows, with these weights."""
    generator = torch.Generator().manual_seed(3)

    def normal(width: int) -> torch.Tensor:
        return torch.randn(N, width, dtype=torch.float64, generator=generator)

    logits, teacher, body, request, candidate = normal(2), normal(2), normal(3), normal(2), normal(2)
    labels = torch.tensor(
        [[1, 0], [0, 1], [0, 0], [1, 1], [0, 1], [1, 0], [0, 0], [1, 0], [0, 0], [0, 1], [1, 1], [0, 0]]
    )
    observed = torch.ones(N, 2, dtype=torch.bool)
    observed[2, 1] = observed[7, 0] = False
    stage = torch.arange(N) % 4
    taken = torch.arange(N) if rows is None else torch.tensor(rows)
    inputs = build_inputs(
        logits[taken],
        sizes,
        teacher=teacher[taken],
        labels=labels[taken],
        observed=observed[taken],
        weight=torch.tensor(weight),
        stage=stage[taken],
        item_id=taken,
    )
    hidden = {"request": request[taken], "candidate": candidate[taken]}
    return replace(
        inputs,
        batch=replace(inputs.batch, weight=inputs.batch.weight.double()),
        output=replace(inputs.output, hidden=hidden),
        signals=replace(inputs.signals, hidden={"body": body[taken]}),  # type: ignore[type-var]
    )


def value(make: Callable[[], LossTerm], inputs: LossInputs) -> float:
    return float(ready(make)(inputs).mean().detach())


@pytest.mark.parametrize("make", OF_ROWS)
def test_a_row_of_twice_the_weight_is_the_row_twice(make: Callable[[], LossTerm]) -> None:
    weight = [1.0, 2.0, 1, 1, 1, 1, 1, 2.0, 1, 1, 1, 3.0]
    again = [0, 1, 1, 2, 3, 4, 5, 6, 7, 7, 8, 9, 10, 11, 11, 11]
    weighted, repeated = given(weight), given([1.0] * 16, again, [5, 3, 8])
    assert value(make, weighted) == pytest.approx(value(make, repeated), rel=1e-12)
    assert value(make, weighted) != pytest.approx(value(make, given([1.0] * N)), rel=1e-6)


@pytest.mark.parametrize("make", OF_REQUESTS)
def test_a_request_whose_rows_have_twice_the_weight_is_the_request_twice(make: Callable[[], LossTerm]) -> None:
    weighted = given([2.0] * 4 + [1.0] * 8)
    repeated = given([1.0] * 16, [0, 1, 2, 3, *range(N)], [4, *SIZES])
    assert value(make, weighted) == pytest.approx(value(make, repeated), rel=1e-12)
    assert value(make, weighted) != pytest.approx(value(make, given([1.0] * N)), rel=1e-6)


@pytest.mark.parametrize("make", OF_REQUESTS)
def test_within_a_request_only_the_mean_weight_of_its_rows_counts(make: Callable[[], LossTerm]) -> None:
    spread = given([1.0, 3.0, 2.0, 2.0, *[1.0] * 8])
    alike = given([2.0] * 4 + [1.0] * 8)
    if make in (
        MultiPositiveSoftmax,
        JRC,
        RankNet,
        Contrastive,
        LambdaRank,
        ListNet,
    ):  # the third is not observed of all
        spread = given([1.5, 2.5, 2.0, 2.0, *[1.0] * 8])
    assert value(make, spread) == pytest.approx(value(make, alike), rel=1e-12)


@pytest.mark.parametrize("make", [*OF_ROWS, *OF_REQUESTS, SampledSoftmax])
def test_a_row_of_weight_0_is_as_if_it_were_not_there(make: Callable[[], LossTerm]) -> None:
    nothing = given([1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 2.0, 2.0, 2.0, 0.0, 2.0])
    without = given([1.0] * 6 + [2.0] * 4, [0, 1, 2, 3, 4, 6, 7, 8, 9, 11], [4, 2, 4])
    assert value(make, nothing) == pytest.approx(value(make, without), rel=1e-12)


@pytest.mark.parametrize("make", [*OF_ROWS, *OF_REQUESTS, SampledSoftmax])
def test_weights_are_relative(make: Callable[[], LossTerm]) -> None:
    weight = [1.0, 2.0, 0.5, 1, 1, 3.0, 1, 2.0, 1, 1, 1, 0.25]
    more = [7.0 * one for one in weight]
    assert value(make, given(weight)) == pytest.approx(value(make, given(more)), rel=1e-12)


def test_a_positive_of_the_sampled_softmax_counts_by_its_weight() -> None:
    def sums(weight: list[float]) -> tuple[float, float]:
        found = ready(SampledSoftmax)(given(weight))
        return float(found.numerators.detach()), float(found.denominators)

    ones, more = sums([1.0] * N), sums([3.0, *[1.0] * 11])
    most = sums([5.0, *[1.0] * 11])
    assert more[1] == ones[1] + 2
    assert most[0] - more[0] == pytest.approx(more[0] - ones[0], rel=1e-12)
    assert more[0] > ones[0]


def test_each_term_is_in_one_of_the_groups() -> None:
    known = {type(make()) for make in (*OF_ROWS, *OF_REQUESTS)} | {SampledSoftmax, ItemContrast}
    found = {one for _, one in inspect.getmembers(all_terms, inspect.isclass) if issubclass(one, LossTerm)}
    assert found - {LossTerm} == known
