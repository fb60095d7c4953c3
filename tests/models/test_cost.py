"""What models cost online: counted work against formulas by hand, and what is measured."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

from distill.models.cost import count_work, measure_cost, online_flops, random_batch
from distill.models.prerankers.base import SplitPreRanker
from distill.schema import Schema
from tests.batches import make_schema
from tests.models.composing import build


def _serving() -> Schema:
    return make_schema().serving_view()


def test_products_elements_and_lookups_are_counted() -> None:
    linear = nn.Linear(3, 5)
    x = torch.randn(7, 3)
    assert count_work(lambda: linear(x), linear).flops == 2 * 7 * 3 * 5
    assert count_work(lambda: (x * x).sum(), linear).flops == 21 + 21
    assert count_work(lambda: x.index_select(0, torch.tensor([1])), linear).flops == 0


def test_a_two_tower_computes_one_inner_product_per_task_and_candidate() -> None:
    schema = _serving()
    model = build("two_tower", schema).eval()
    request, candidate = online_flops(model, schema)
    assert candidate.flops == 2 * 4 + 2 * 4 + 2  # K·D products, as many summed, K biases
    assert candidate.lookups == 0
    assert request.lookups == 2 + 50  # user, hour, and a history of 50
    assert request.flops >= 2 * (12 * 128 + 128 * 64 + 64 * 8)


def test_a_ranker_computes_everything_for_each_candidate() -> None:
    schema = make_schema()
    model = build("dnn", schema).eval()
    request, candidate = online_flops(model, schema)
    products = 2 * (27 * 256 + 256 * 128 + 128 * 2)
    assert candidate.flops == products + 256 + 128  # ReLUs; biases are part of the products' kernels
    assert candidate.lookups == 2  # item and secret
    assert request.lookups == 2 + 50
    assert request.flops < 2000, "nothing but the mean of the history"


PRODUCTS = {  # multiply-adds of a candidate, by hand; 27 columns of 10 fields
    "final_mlp": 2 * (27 * 256 + 256 * 128) + 4 * 32 * 32 + 3 * 128 * 2,  # a learned gate is computed once
    "mask_net": 2 * 27 * 10 + 3 * (2 * 27 * 54 + 27 * 64) + 192 * 256 + 256 * 128 + 128 * 2,
    "gdcn": 3 * 2 * 27 * 27 + 27 * 256 + 256 * 128 + 128 * 2,
    "wukong": 3 * 4
    + 4 * 4
    + 2 * 10 * 4 * 8
    + 80 * 128
    + 128 * 64
    + (16 + 32) * 10 * 4
    + 2 * (2 * 32 * 4 * 8 + 256 * 128 + 128 * 64 + 16 * 32 * 4)
    + 128 * 256
    + 256 * 128
    + 128 * 2,
    "esmm": 2 * (27 * 256 + 256 * 128 + 128),
    "aitm": 2 * 27 * 128 + (1 + 3 * 2) * 128 * 128 + 2 * (128 * 64 + 64),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_the_products_of_a_ranker_are_those_of_its_formula(name: str) -> None:
    schema = make_schema()
    _, candidate = online_flops(build(name, schema).eval(), schema)
    assert 2 * PRODUCTS[name] <= candidate.flops < 2.1 * PRODUCTS[name], "the rest is elementwise"


def test_target_attention_reads_the_sequence_once_and_scores_it_for_each_candidate() -> None:
    schema = make_schema()
    plain, target = (online_flops(build(name, schema).eval(), schema)[1] for name in ("dnn", "din"))
    assert target.flops > plain.flops + 50 * 36
    assert target.lookups == plain.lookups


def test_bytes_of_stored_vectors() -> None:
    schema = _serving()
    sizes = {"two_tower": 2 * 4, "logistic": 2, "int_tower": 2 * 4 * 4, "fit": 16 + 2 * 4 * 4, "late_mlp": 4 + 32}
    for name, floats in sizes.items():
        assert measure_cost(build(name, schema), schema, 0.0).item_bytes == 4 * floats, name
    assert measure_cost(build("cold", schema), schema, 0.0).item_bytes == 0


def test_times_are_of_one_thread_and_leave_no_trace() -> None:
    schema = _serving()
    model = build("two_tower", schema)
    assert isinstance(model, SplitPreRanker)
    threads, seen = torch.get_num_threads(), []
    torch.set_num_threads(2)
    model.similarity.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))  # type: ignore[operator, union-attr]
    model.candidate_tower.register_forward_hook(lambda *_: seen.append(-1))  # type: ignore[operator, union-attr]
    try:
        cost = measure_cost(model, schema, 0.01)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert set(seen) <= {1, 2, -1}
    timed = seen[max(i for i, value in enumerate(seen) if value == 2) + 1 :]
    assert 1 in timed
    for median, tail in cost.milliseconds.values():
        assert 0 < median <= tail
    assert set(cost.milliseconds) == {100, 1000, 5000}
    assert threading.active_count() >= 1


def test_item_vectors_are_not_computed_online() -> None:
    schema = _serving()
    model = build("two_tower", schema).eval()
    calls: list[int] = []
    online = online_flops(model, schema)
    model.candidate_tower.body.register_forward_hook(lambda *_: calls.append(1))  # type: ignore[operator, union-attr]
    assert online == online_flops(model, schema)
    assert len(calls) == 2, "once for each number of candidates, for the store alone"


@pytest.mark.parametrize("sizes", [[1], [3, 0, 2]])
def test_random_batches_fit_the_schema(sizes: list[int]) -> None:
    schema = make_schema()
    batch = random_batch(schema, sizes)
    assert batch.num_requests == len(sizes)
    assert build("dcn_v2", schema)(batch).logits.shape == (sum(sizes), 2)
    again = random_batch(schema, sizes)
    assert torch.equal(batch.candidate.ids, again.candidate.ids)
