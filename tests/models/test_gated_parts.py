"""COLD and FSCD taken apart by side score as they do whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from distill.batch import Batch
from distill.models.prerankers.base import PreRanker, SinglePreRanker, SplitPreRanker
from distill.schema import Schema
from tests.batches import make_batch, make_schema
from tests.models.composing import build

ACROSS = "model.net.groups={who: [user, price, seen], what: [image, age]}"
CASES = [
    ("cold",),
    ("cold", "model.net.gate=false"),
    ("cold", ACROSS),
    ("cold", ACROSS, "model.net.fields=[user, price, seen, history, image, age]"),
    ("cold", "model.net.fields=[user, item]", "model.net.compress=false"),
    ("cold", "model.net.fields=[price, seen]", "model.net.hidden_units=[6]"),
    ("fscd",),
    ("fscd", ACROSS, "model.net.gate=false"),
    ("fscd", "model.net.fields=[user, image, seen]", "model.net.hidden_units=[5, 4, 3]"),
]


def _trained(schema: Schema, name: str, *options: str) -> PreRanker:
    model = build(name, schema, *options)
    assert isinstance(model, PreRanker)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_parts_score_as_the_whole_model(case: tuple[str, ...]) -> None:
    schema = make_schema().serving_view()
    batch = make_batch(schema)
    model = _trained(schema, *case)
    wanted = model(batch).logits
    assert float(wanted.std()) > 1e-3
    parts = model.in_parts()
    assert isinstance(parts, SplitPreRanker)
    torch.testing.assert_close(parts.eval()(batch).logits, wanted, atol=1e-6, rtol=1e-5)
    if isinstance(parts, SinglePreRanker):
        of_first = batch.request_index == 0
        cross = parts_of(batch, of_first)
        request = parts.encode_request(batch.request)[:1]
        single = parts.interact_single(request, parts.encode_candidate(batch.candidate)[of_first], cross.cross)
        torch.testing.assert_close(single, wanted[of_first], atol=1e-6, rtol=1e-5)


def parts_of(batch: Batch, rows: torch.Tensor) -> Batch:
    """The batch with the pairs of some candidates."""
    cross = batch.cross
    assert not cross.sequences
    vectors = {name: values[rows] for name, values in cross.vectors.items()}
    return replace(batch, cross=replace(cross, ids=cross.ids[rows], numbers=cross.numbers[rows], vectors=vectors))


def test_a_gate_has_a_cheaper_form_for_one_request() -> None:
    schema = make_schema().serving_view()
    for options, single in ((("cold",), True), (("cold", "model.net.gate=false"), False), (("fscd",), False)):
        parts = _trained(schema, *options).in_parts()
        assert parts is not None
        assert isinstance(parts, SinglePreRanker) is single


def test_what_reads_both_sides_before_its_first_layer_stays_whole() -> None:
    schema = make_schema().serving_view()
    assert _trained(schema, "cold", "model.net.hidden_units=[]").in_parts() is None
    assert _trained(schema, "cold", "sequence@model.net.sequence=target_attention").in_parts() is None
    assert _trained(schema, "two_tower").in_parts() is None
