"""A training step asks the device for no number and for no shape, and what it computes is the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from distill.batch import Batch, TeacherSignals
from distill.features import table_factory
from distill.losses import CompositeLoss, LossTerm, TeacherAdapter, terms
from distill.losses.composite import Weighting
from distill.ops.waiting import as_on_a_device
from distill.sampling import (
    InBatchNegatives,
    PseudoLabels,
    RandomNegatives,
    Sampler,
    StageNegatives,
    WeightedPseudoLabels,
)
from distill.sampling.added import AddedNegatives
from distill.signals.calibration import CalibratedSignals, PiecewiseLinear
from distill.signals.checkpoint import CheckpointSignals
from distill.signals.column import ColumnSignals
from distill.training.module import RankingModule
from distill.training.row_regularization import RowRegularization
from tests.jobs.entry import ROOT
from tests.marks import some_fast
from tests.models.composing import build
from tests.models.listing import PRERANKERS, RANKERS
from tests.no_sync import waits
from tests.training.stepping import VIEW, Stepper, batch_of, module_of, setting, state_of

TERMS: dict[str, type[LossTerm]] = {
    name: kind
    for name in terms.__all__
    if isinstance(kind := getattr(terms, name), type) and issubclass(kind, LossTerm) and kind is not LossTerm
}
SAMPLERS: dict[str, Callable[[], Sampler]] = {
    "in_batch": InBatchNegatives,
    "pseudo": PseudoLabels,
    "random": RandomNegatives,
    "stage": lambda: StageNegatives(per_request=1),
    "weighted": lambda: WeightedPseudoLabels(confidence="request"),
}
MODELS = [*PRERANKERS, *RANKERS]
OTHERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "transformer": ("two_tower", ("sequence@model.net.sequence=transformer",)),
    "dropout": ("two_tower", ("model.net.id_dropout=0.3", "model.net.embedding_dropout=0.2")),
    "distinct": ("two_tower", ("model.net.distinct_candidates=true",)),
    "one_query": ("fit", ("model.net.assignment=hard",)),
    "linear": ("three_tower", ("model.net.cross_head=linear",)),
    "searched": ("din", ("sequence@model.net.sequence=searched_attention",)),
    "category": ("dat", ("model.net.category_field=item",)),
}
WAITING = {"distinct"}


def of_model(name: str) -> RankingModule:
    model, overrides = OTHERS.get(name, (name, ()))
    return module_of(model, overrides=overrides)


def of_term(name: str) -> RankingModule:
    return module_of("two_tower", {"hard": terms.HardBCE(), "other": TERMS[name]()})


def of_sampler(name: str) -> RankingModule:
    return module_of("two_tower", {"hard": terms.HardBCE(), "list": terms.SoftmaxKL()}, {"one": SAMPLERS[name]()})


def of_weighting(name: str) -> RankingModule:
    module = module_of("two_tower", {"hard": terms.HardBCE(), "soft": terms.BernoulliKL()})
    known = setting(module.model)
    module.loss = CompositeLoss(module.loss.named_terms(), weighting=cast(Weighting, name))
    module.loss.setup(known)
    return module.train()


def of_adapter(name: str) -> RankingModule:
    module = module_of("two_tower", {"hard": terms.HardBCE(), "soft": terms.BernoulliKL()})
    known = setting(module.model)
    more: dict[str, Any] = {"hidden_units": [4], "vectors": ["request"]} if name == "perceptron" else {}
    module.loss = CompositeLoss(module.loss.named_terms(), adapter=TeacherAdapter(**more))
    module.loss.setup(known)
    return module.train()


def of_optimiser(name: str) -> RankingModule:
    return module_of("two_tower", embedding=name)


def of_regularised(name: str) -> RankingModule:
    rows = RowRegularization(embedding_l2=0.3, embedding_l2_steps="all", embedding_max_norm=0.2)
    return module_of("two_tower", embedding=name, rows=rows)


def of_small_tables(_: str) -> RankingModule:
    return module_of("two_tower", dense_rows=12)


def of_bfloat16(name: str) -> RankingModule:
    """Tables in bfloat16; L2, max-norm and Adam on small ones move rows too."""
    rows = RowRegularization(embedding_l2=0.3, embedding_l2_steps="all", embedding_max_norm=0.2)
    small = 12 if name == "rowwise_adagrad" else 0
    return module_of("two_tower", embedding=name, rows=rows, dense_rows=small, tables=table_factory(None, "bfloat16"))


CASES: list[tuple[Callable[[str], RankingModule], str]] = [
    *((of_model, name) for name in (*MODELS, *OTHERS)),
    *((of_term, name) for name in TERMS),
    *((of_sampler, name) for name in SAMPLERS),
    *((of_optimiser, name) for name in ("rowwise_adagrad", "sparse_adam")),
    (of_weighting, "uncertainty"),
    *((of_adapter, name) for name in ("affine", "perceptron")),
    (of_small_tables, "small_tables"),
    *((of_regularised, name) for name in ("rowwise_adagrad", "sparse_adam")),
    *((of_bfloat16, name) for name in ("rowwise_adagrad", "sparse_adam")),
]


def without_host_fields(batch: Batch) -> Batch:
    """A batch whose fields on the host cannot be computed with, as they cannot together with those on a device."""
    assert set(batch.on_host) >= {"request_id", "user_id", "row", "columns"}
    hidden = {name: getattr(batch, name).to("meta") for name in batch.on_host if name != "columns"}
    return replace(batch, **hidden, columns={})


def serves(module: RankingModule) -> bool:
    return not isinstance(module.projection, nn.Identity)


def hold_noise(module: RankingModule) -> None:
    """Keeps weights as they are whose gradient is a rounding error: the first steps of Adam make whole steps of it."""
    held = [name for name in dict(module.named_parameters()) if name.endswith("attention.score.2.bias")]
    if isinstance(module.loss.named_terms().get("other"), terms.NeuralSort):
        held.append("model.request_tower.project.bias")
    for name in held:
        module.get_parameter(name).requires_grad_(False)


def says_so(module: RankingModule) -> bool:
    return any(getattr(part, "needs_shapes", False) for part in module.modules())


@pytest.mark.parametrize(("make", "name"), some_fast(CASES, 6))
def test_a_step_does_not_wait_but_for_what_says_so(make: Callable[[str], RankingModule], name: str) -> None:
    module = make(name)
    stepper = Stepper(module)
    batch = stepper.prepare(batch_of(serves(module)))
    with waits() as found:
        stepper.step(without_host_fields(batch))
    listed = name in WAITING
    assert (found != []) == listed, sorted(set(found))
    assert says_so(module) == listed


# The noise of DE is drawn for as many rows as there are.
@pytest.mark.parametrize(("make", "name"), some_fast((case for case in CASES if case[1] != "DE"), 8))
def test_steps_with_padding_compute_the_same(make: Callable[[str], RankingModule], name: str) -> None:
    states = []
    for on_a_device in (False, True):
        module = make(name)
        for dropout in (part for part in module.modules() if isinstance(part, nn.Dropout)):
            dropout.p = 0.0  # what is drawn depends on the number of rows
        hold_noise(module)
        stepper = Stepper(module)
        losses = []
        for seed in range(4):
            torch.manual_seed(0)
            batch = stepper.prepare(batch_of(serves(module), seed))
            if on_a_device:
                with as_on_a_device():
                    losses.append(stepper.step(batch))
            else:
                losses.append(stepper.step(batch))
        states.append((losses, state_of(module)))
    torch.testing.assert_close(states[0], states[1])


def test_a_batch_whose_teacher_runs_in_the_step_keeps_its_rows() -> None:
    teacher = CheckpointSignals(build("dcn_v2", VIEW, "sequence@model.net.sequence=transformer"))
    reports, scored = [], []
    for on_a_device in (False, True):
        module = module_of("two_tower", {"soft": terms.BernoulliKL(rows="exposed")}, signals=teacher)
        stepper = Stepper(module)
        batch = stepper.prepare(batch_of(True))
        assert not batch.is_ready
        assert batch.on_host == ()
        if on_a_device:
            with waits() as found:
                reports.append(stepper.step(batch))
            assert found == []
        else:
            reports.append(stepper.step(batch))
        assert module.last_batch is not None
        scored.append(module.last_batch.num_candidates)
    assert scored[0] < scored[1] == batch_of(True).num_candidates
    torch.testing.assert_close(reports[0], reports[1])


def of_rule_in_step(name: str, taught: bool) -> RankingModule:
    """A sample rule with a teacher that runs in the step, which may be asked about the rows that the rule adds."""
    teacher = CheckpointSignals(build("dcn_v2", VIEW, "sequence@model.net.sequence=transformer"))
    sampler = SAMPLERS[name]()
    if taught and isinstance(sampler, AddedNegatives):
        sampler.taught_origin = sampler.origin
    of_terms = {"hard": terms.HardBCE(), "list": terms.SoftmaxKL(), "pairs": terms.RankNet()}
    return module_of("two_tower", of_terms, {"one": sampler}, signals=teacher)


RULES_IN_STEP = [*((name, False) for name in SAMPLERS), ("in_batch", True), ("random", True)]


@pytest.mark.parametrize(("name", "taught"), RULES_IN_STEP)
def test_sample_rules_of_a_step_do_not_wait(name: str, taught: bool) -> None:
    """With a teacher that runs in the step they run on the device; the loss is that of the host."""
    losses = []
    for on_a_device in (False, True):
        stepper = Stepper(of_rule_in_step(name, taught))
        batch = stepper.prepare(batch_of(True))
        assert not batch.is_ready
        if on_a_device:
            with waits() as found:
                losses.append(stepper.step(batch))
            assert found == []
        else:
            losses.append(stepper.step(batch))
    torch.testing.assert_close(losses[0], losses[1])


def test_no_row_at_all_is_needed() -> None:
    for name in ("SoftmaxKL", "ListNet", "Hint", "MarginMSE", "ListMLE"):
        module = of_term(name)
        stepper = Stepper(module)
        batch = batch_of(True)
        none = torch.zeros_like(batch.observed)
        assert batch.signals is not None
        silent = TeacherSignals(batch.signals.logits, none[:, 0], batch.signals.hidden)
        with as_on_a_device():
            loss = stepper.step(replace(batch, observed=none, signals=silent))
        assert loss == 0
        assert all(bool(value.isfinite().all()) for value in state_of(module).values())


def of_calibration(name: str) -> RankingModule:
    maps = {0: PiecewiseLinear(np.array([-1.0, 2.0]), np.array([-0.5, 3.0]))}
    return module_of("two_tower", {"kl": TERMS[name]()}, signals=CalibratedSignals(ColumnSignals(), maps))


@pytest.mark.parametrize(("make", "name"), [*some_fast(CASES, 6), (of_calibration, "SoftmaxKL")])
def test_a_batch_is_made_ready_without_the_device(make: Callable[[str], RankingModule], name: str) -> None:
    """On a GPU the module is there by then, and the batch still on the host: nothing of the one may meet the other."""
    stepper = Stepper(make(name))
    batch = batch_of(serves(stepper.module))
    wanted = stepper.prepare(batch)
    stepper.module.to("meta")
    found = stepper.prepare(batch)
    assert torch.equal(found.weight, wanted.weight)
    assert torch.equal(found.request_index, wanted.request_index)
    assert torch.equal(found.labels, wanted.labels)
    if wanted.signals is not None:
        assert found.signals is not None
        assert torch.equal(found.signals.logits, wanted.signals.logits)


def test_the_sequences_of_a_ready_batch_are_measured() -> None:
    module = of_model("transformer")
    ready = Stepper(module).prepare(batch_of(True))
    history = ready.request.sequences["history"]
    assert history.longest == int(history.lengths.max())
    assert ready.is_ready


def test_the_tool_finds_what_would_wait() -> None:
    values = torch.arange(4)
    asked: list[Callable[[], object]] = [
        lambda: values[0].item(),
        lambda: bool(values.any()),
        lambda: values.tolist(),
        lambda: values[values > 2],
        lambda: values.unique(),
        lambda: values.repeat_interleave(values),
        lambda: values.bincount(),
        lambda: torch.tensor([1, 2]),
    ]
    for ask in asked:
        with waits() as found:
            ask()
        assert found
    with waits() as found:
        values.repeat_interleave(values, output_size=6).cumsum(0).index_select(0, values)
    assert found == []


def test_the_docs_say_what_waits() -> None:
    text = " ".join((ROOT / "docs" / "scale.md").read_text(encoding="utf-8").split())
    assert not any(kind.needs_shapes for kind in TERMS.values())
    assert "`two_tower` with `distinct_candidates` needs a size" in text
    assert "No loss term does so." in text
