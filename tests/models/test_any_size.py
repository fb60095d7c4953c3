"""Every model on batches of any size: no rows, no requests, one candidate, requests that have none."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from distill.batch import Batch
from distill.features import ServingProjection
from distill.losses import CompositeLoss, LossInputs, TaskInfo
from distill.losses.setting import LossSetting
from distill.losses.terms import HardBCE
from distill.models.prerankers.base import PreRanker, SplitPreRanker
from distill.models.prerankers.fitted import FittedPreRanker
from tests.batches import make_batch, make_schema
from tests.marks import some_fast
from tests.models.composing import build
from tests.models.listing import PRERANKERS, RANKERS

SIZES: dict[str, tuple[int, ...]] = {
    "no_request": (),
    "no_candidate": (0, 0, 0),
    "one_candidate": (1,),
    "two_requests_of_one": (1, 1),
    "requests_without_candidates": (0, 2, 0, 1, 0),
}
NORMED = "model.net.body.norm=batch"
VARIANTS: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in [*RANKERS, *PRERANKERS, "quality_score"]},
    "normed_ranker": ("dnn", NORMED),
    "normed_towers": ("two_tower", NORMED),
    "distinct_candidates": ("two_tower", "model.net.distinct_candidates=true"),
    "one_query": ("fit", "model.net.assignment=hard"),
    "linear_cross_head": ("three_tower", "model.net.cross_head=linear"),
    "aligned": ("dat", "model.net.category_field=item"),
    "transformer": ("two_tower", "sequence@model.net.sequence=transformer"),
    "target_transformer": ("dnn", "sequence@model.net.sequence=target_transformer"),
    "mixture": ("dcn_v2", "model.net.body.num_experts=2", "model.net.body.cross_rank=2"),
    "online_attention": ("cold", "sequence@model.net.sequence=target_attention"),
}


def _build(variant: str) -> tuple[nn.Module, bool]:
    """The model, and whether it is a pre-ranker."""
    name, *overrides = VARIANTS[variant]
    schema = make_schema()
    serves = name in [*PRERANKERS, "quality_score"]
    return build(name, schema.serving_view() if serves else schema, *overrides), serves


def _batch(serves: bool, sizes: tuple[int, ...]) -> Batch:
    schema = make_schema()
    batch = make_batch(schema, sizes)
    return ServingProjection(schema)(batch) if serves else batch


def _loss(model: nn.Module, batch: Batch) -> Tensor:
    loss = CompositeLoss({"hard": HardBCE()})
    loss.setup(LossSetting([TaskInfo("click", 1.0), TaskInfo("like", 1.0)], has_signals=False))
    total: Tensor = loss(LossInputs(batch, model(batch), None, 0)).total
    return total


@pytest.mark.parametrize("variant", some_fast(VARIANTS, 3))
def test_scores_and_learns_from_any_number_of_rows(variant: str) -> None:
    model, serves = _build(variant)
    for case, sizes in SIZES.items():
        whole = _batch(serves, sizes)
        unlabelled = replace(whole, observed=torch.zeros_like(whole.observed))
        for batch in (whole, unlabelled, replace(whole, weight=torch.zeros_like(whole.weight))):
            model.train()
            assert model(batch).logits.shape == (sum(sizes), 2), case
            model.zero_grad()
            total = _loss(model, batch)
            assert bool(torch.isfinite(total)), case
            if total.requires_grad:
                total.backward()
            grads = [p.grad.to_dense() for p in model.parameters() if p.grad is not None]
            assert len(grads) == len(list(model.parameters())), case
            assert all(bool(torch.isfinite(grad).all()) for grad in grads), case
        output = model.eval()(whole)
        assert output.logits.shape == (sum(sizes), 2), case
        assert all(vectors.shape[0] == sum(sizes) for vectors in output.hidden.values()), case
        assert not output.penalties, case


@pytest.mark.parametrize("variant", some_fast(VARIANTS, 3))
def test_a_request_without_candidates_changes_nothing(variant: str) -> None:
    model, serves = _build(variant)
    model.eval()
    batch = _batch(serves, (0, 2, 0, 1, 0))
    without = replace(
        batch,
        request=batch.request.select(torch.tensor([1, 3])),
        request_index=torch.tensor([0, 0, 1]),
        request_id=torch.arange(2),
        user_id=torch.arange(2),
    )
    torch.testing.assert_close(model(batch).logits, model(without).logits)


@pytest.mark.parametrize(
    "variant", some_fast((name for name, (model, *_) in VARIANTS.items() if model in PRERANKERS), 2)
)
def test_vectors_of_no_rows_have_the_shape_of_others(variant: str) -> None:
    model, _ = _build(variant)
    assert isinstance(model, PreRanker)
    if not isinstance(model, SplitPreRanker):
        assert model.group_weights(_batch(True, (0,))).shape[0] == 0  # type: ignore[attr-defined, operator]
        return
    some, none = _batch(True, (2,)), _batch(True, ())
    assert model.encode_request(none.request).shape[1:] == model.encode_request(some.request).shape[1:]
    assert model.encode_candidate(none.candidate).shape[1:] == model.encode_candidate(some.candidate).shape[1:]


def test_a_score_is_fitted_to_batches_without_rows() -> None:
    model, _ = _build("quality_score")
    assert isinstance(model, FittedPreRanker)
    model.fit([_batch(True, ()), _batch(True, (0, 0)), _batch(True, (1,))])
    alone, _ = _build("quality_score")
    assert isinstance(alone, FittedPreRanker)
    alone.fit([_batch(True, (1,))])
    assert torch.equal(model.get_buffer("logits"), alone.get_buffer("logits"))
