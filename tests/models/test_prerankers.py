"""Every pre-ranker of `conf/model`: composes for three kinds of data, learns, splits, counts its weights, loads."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from distill.batch import Batch
from distill.errors import ConfigError
from distill.features import ServingProjection
from distill.jobs.parts import build_model, is_preranker, load_model, model_card
from distill.models.prerankers.alignment import category_alignment
from distill.models.prerankers.base import SplitPreRanker
from distill.schema import Schema
from distill.training.optim import count_weights
from tests.batches import make_batch, make_schema
from tests.marks import slow_except, some_fast
from tests.models.composing import DATASETS, build, composed_net, overfit, prepare_data
from tests.models.listing import BODIES, PRERANKERS, SPLIT
from tests.no_sync import waits

LINEAR = {"logistic"}
WIDER = {"split_towers": {"vector_dim": 16}}  # cosines of means of few small vectors cannot tell 64 rows apart
WITHOUT_CROSS = {"three_tower", "interact_rank"}


@pytest.fixture(scope="module", params=DATASETS)
def data(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Schema, Batch]:
    schema, batch = prepare_data(request.param, tmp_path_factory.mktemp(request.param))
    return schema.serving_view(), ServingProjection(schema)(batch)


def _schema(tasks: tuple[str, ...] = ("click", "like")) -> Schema:
    return make_schema(tasks).serving_view()


@pytest.mark.parametrize("name", some_fast(PRERANKERS, 3))
def test_composes_and_learns_from_every_field(name: str, data: tuple[Schema, Batch]) -> None:
    schema, batch = data
    if name in WITHOUT_CROSS and not any(field.side.value == "cross" for field in schema.fields):
        with pytest.raises(ConfigError, match="choose model=two_tower"):
            build(name, schema)
        return
    model = build(name, schema)
    output = model(batch)
    assert output.logits.shape == (batch.num_candidates, len(schema.tasks))
    (
        output.logits.square().sum() + sum((p.mean() for p in output.penalties.values()), output.logits.new_zeros(()))
    ).backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None]


@pytest.mark.parametrize("name", slow_except(PRERANKERS, "two_tower"))
def test_overfits(name: str) -> None:
    schema = _schema()
    batch = make_batch(schema, (16, 16, 1, 31), seed=1)
    if name in LINEAR:  # too few weights for any labels: here are some that a linear rule makes
        price, age = batch.candidate.numbers[:, 0], batch.request.numbers[:, 0].index_select(0, batch.request_index)
        batch = replace(batch, labels=torch.stack([price + age > 0, price > age], dim=1).float())
    aucs = overfit(build_model({**composed_net(name), **WIDER.get(name, {})}, schema, "model.net"), batch, steps=400)
    assert min(aucs.values()) > 0.99


@pytest.mark.parametrize("name", some_fast(PRERANKERS, 3))
@pytest.mark.parametrize("tasks", [("click",), ("click", "like", "buy")])
def test_a_batch_of_one_and_any_number_of_tasks(name: str, tasks: tuple[str, ...]) -> None:
    schema = _schema(tasks)
    model = build(name, schema)
    assert model(make_batch(schema, (1,))).logits.shape == (1, len(tasks))
    assert model(make_batch(schema)).logits.shape == (8, len(tasks))


@pytest.mark.parametrize("name", some_fast(PRERANKERS, 3))
def test_scores_each_pair_for_itself(name: str) -> None:
    schema = _schema()
    model = build(name, schema).eval()
    batch = make_batch(schema, (3, 5))
    rows = torch.tensor([1, 4, 6])
    expected = model(batch).logits.index_select(0, rows)
    torch.testing.assert_close(model(batch.select(rows)).logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", some_fast(SPLIT, 3))
def test_item_vectors_computed_alone_and_stored_give_the_same_logits(name: str, tmp_path: Path) -> None:
    schema = _schema()
    model = build(name, schema).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    assert isinstance(model, SplitPreRanker)
    assert model.precomputable == {"request", "candidate"}
    batch = make_batch(schema)
    alone = [model.encode_candidate(batch.candidate.select(torch.tensor([i]))) for i in range(batch.num_candidates)]
    torch.save(torch.cat(alone), tmp_path / "items.pt")
    stored: Tensor = torch.load(tmp_path / "items.pt", weights_only=True)
    request = torch.cat([model.encode_request(batch.request.select(torch.tensor([i]))) for i in range(3)])
    logits = model.interact(request, stored, batch.cross, batch.request_index).logits
    torch.testing.assert_close(logits, model(batch).logits)
    assert not torch.allclose(logits, model.interact(request, stored.flip(0), batch.cross, batch.request_index).logits)


@pytest.mark.parametrize("name", some_fast(PRERANKERS, 3))
def test_is_a_student_that_saves_loads_and_scores_identically(name: str, tmp_path: Path) -> None:
    schema, net = _schema(), composed_net(name)
    assert is_preranker(net, "model.net")
    model = build(name, schema).eval()
    state = {f"model.{key}": value for key, value in model.state_dict().items()}
    torch.save({"state_dict": state, "distill": model_card(net, schema, "f")}, tmp_path / "x.ckpt")
    batch = make_batch(schema)
    assert torch.equal(load_model(tmp_path / "x.ckpt").model(batch).logits, model(batch).logits)


REQUEST = 4 + 3 + 4 + 1  # user, hour, history, age
CANDIDATE = 4 + 4 + 1  # item, image, price
TABLES = (12 + 20) * 4 + 6 * 3


def _mlp(*widths: int) -> int:
    return sum((a + 1) * b for a, b in pairwise(widths))


def _both(*widths: int) -> int:
    return _mlp(REQUEST, *widths) + _mlp(CANDIDATE, *widths)


FORMULAS = {
    "logistic": (12 + 20 + 6) * 2 + (1 + 4 + 1 + 1) * 2 + 2,
    "two_tower": TABLES + _both(128, 64, 8) + 4,
    "senet_two_tower": TABLES + 2 * 4 * 2 + 2 * 3 * 1 + _both(128, 64, 8) + 4,
    "parallel_two_tower": TABLES
    + _both(128, 64, 4)
    + 2 * (REQUEST * (REQUEST + 1) + CANDIDATE * (CANDIDATE + 1))
    + _both(4)
    + (3 * 4 + 1 * 4 + 1 * 4)
    + 2 * _mlp(4, 4)
    + _mlp(3 * 4, 2),
    "split_towers": TABLES
    + _mlp(4 + 3, 64, 64, 8)
    + _mlp(4, 64, 64, 8)
    + _mlp(1, 64, 64, 8)
    + _mlp(4, 64, 64, 8)
    + _mlp(5, 64, 64, 8)
    + _mlp(3 * 8, 3)
    + _mlp(2 * 8, 2)
    + 4,
    "late_mlp": TABLES + _both(128, 64, 4) + _both(32) + _mlp(2 * 36 + 4, 64, 64) + _mlp(64, 2),
    "dat": TABLES + (12 + 20) * 8 + _mlp(REQUEST + 8, 128, 64, 8) + _mlp(CANDIDATE + 8, 128, 64, 8) + 4,
    "int_tower": TABLES + _mlp(4, 4) + _mlp(3, 3) + _both(128, 64) + _mlp(128, 2 * 4 * 4) + 2 * _mlp(64, 2 * 4 * 4) + 4,
    "cold": TABLES + _mlp(REQUEST + CANDIDATE + 1, 8) + _mlp(REQUEST + CANDIDATE + 1, 128, 64, 2),
    "fscd": TABLES + 8 + _mlp(REQUEST + CANDIDATE + 1, 128, 64, 2),
    "three_tower": TABLES + _both(128, 64, 8) + _mlp(1, 32, 8) + 2 * 2 * 4 + 4,
    "interact_rank": TABLES + _both(128, 64, 8) + 2 * 1 + 4,
    "fit": TABLES
    + 16 * 4  # of a query, what it asks a history
    + _mlp(REQUEST + 16, 128, 64, 2 * 4 * 4)
    + _mlp(CANDIDATE, 128, 64, 2 * 4 * 4)
    + 16 * 16
    + _mlp(CANDIDATE, 16)
    + 2 * (_mlp(4 * 4, 16) + 16 + 1),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_counts_parameters_as_its_formula(name: str) -> None:
    assert count_weights(build(name, _schema())) == FORMULAS[name]


@pytest.mark.parametrize("body", some_fast(BODIES, 3))
def test_towers_have_any_body(body: str) -> None:
    model = build("senet_two_tower", make_schema(), f"body@model.net.body={body}")
    assert model(make_batch(make_schema())).logits.shape == (8, 2)


def test_a_fixed_temperature_is_not_learned() -> None:
    model = build("two_tower", _schema(), "model.net.temperature=0.1")
    assert not [n for n, _ in model.named_parameters() if "log_scale" in n]
    logits = model(make_batch(_schema())).logits
    assert bool((logits.abs() <= 10.0 + 1e-4).all())
    with pytest.raises(ConfigError, match="temperature must be positive"):
        build("two_tower", _schema(), "model.net.temperature=0")


def test_a_linear_cross_head_adds_a_weighted_sum_of_the_cross_fields() -> None:
    schema = _schema()
    model, towers = build("interact_rank", schema).eval(), build("two_tower", schema).eval()
    towers.load_state_dict(model.state_dict(), strict=False)
    batch = make_batch(schema)
    torch.testing.assert_close(model(batch).logits, towers(batch).logits)  # it starts as a two-tower
    assert model.merge.shape == (2, 1)
    torch.nn.init.normal_(model.merge)  # type: ignore[arg-type]
    expected = towers(batch).logits + batch.cross.numbers * model.merge.T
    torch.testing.assert_close(model(batch).logits, expected)
    wide = build("three_tower", schema, "model.net.cross_head=linear").eval()
    torch.nn.init.normal_(wide.merge)  # type: ignore[arg-type]
    output = wide(batch)
    assert output.hidden["cross"].shape == (8, 32)
    alone = wide.similarity(output.hidden["request"].view(8, 2, 4), output.hidden["candidate"].view(8, 2, 4))  # type: ignore[operator]
    torch.testing.assert_close(output.logits, alone + output.hidden["cross"] @ wide.merge.T)  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="Unknown cross head"):
        build("three_tower", schema, "model.net.cross_head=affine")


def test_channels_share_out_the_fields() -> None:
    schema = _schema()
    model = build("split_towers", schema, "model.net.request_channels={who: [user, age]}")
    assert set(model.request_tower.bodies) == {"who", "rest"}  # type: ignore[union-attr]
    for wrong in ("{a: [user], b: [user]}", "{a: [price]}"):
        with pytest.raises(ConfigError, match="unknown or named twice"):
            build("split_towers", schema, f"model.net.request_channels={wrong}")


@pytest.mark.parametrize("shortcut", ["none", "hidden"])
def test_shortcuts_of_the_late_mlp(shortcut: str) -> None:
    schema = _schema()
    model = build("late_mlp", schema, f"model.net.shortcut={shortcut}")
    assert isinstance(model, SplitPreRanker)
    width = model.encode_candidate(make_batch(schema).candidate).shape[1]
    assert width == 4 + (0 if shortcut == "none" else 32)
    with pytest.raises(ConfigError, match="Unknown shortcut"):
        build("late_mlp", schema, "model.net.shortcut=deep")


def test_augmented_vectors_learn_from_positive_pairs_alone() -> None:
    schema = _schema()
    model = build("dat", schema, "model.net.mimic_weight=1.0")
    batch = make_batch(schema)
    negative = replace(batch, labels=torch.zeros_like(batch.labels))
    assert float(model(negative).penalties["mimic"].mean()) == 0.0
    output = model(replace(batch, observed=torch.ones_like(batch.observed)))
    tower = model.request_tower
    user, wanted = tower(batch.request)
    item, wanted_users = model.candidate_tower(batch.candidate)
    user, item = (vectors / vectors.norm(dim=2, keepdim=True) for vectors in (user, item))  # as cosines compare them
    index = batch.request_index
    y = batch.labels.unsqueeze(2)
    expected = (y * (wanted[index] - item) ** 2).sum() + (y * (wanted_users - user[index]) ** 2).sum()
    torch.testing.assert_close(output.penalties["mimic"].mean(), expected / (8 * 2 * 4))
    output.penalties["mimic"].mean().backward()
    assert tower.augmented_tables.weights["8"].grad is not None
    assert tower.project.weight.grad is None, "the aim is not moved"
    assert not model.eval()(batch).penalties


def test_category_alignment_is_the_distance_of_covariances() -> None:
    vectors, category = torch.randn(9, 2, 3, dtype=torch.float64), torch.tensor([4, 4, 7, 7, 7, 4, 4, 1, 7])
    vectors.requires_grad_()
    found = category_alignment(vectors, torch.tensor([4, 4, 7, 7, 7, 4, 4, 1, 4]))
    rows = {4: [0, 1, 5, 6, 8], 7: [2, 3, 4]}
    expected = 0.0
    for k in range(2):
        major, minor = (torch.cov(vectors[rows[c], k].T) for c in (4, 7))
        expected += float((major - minor).square().sum()) / 2
    assert float(found) == pytest.approx(expected, rel=1e-9)
    found.backward()
    assert vectors.grad is not None
    assert not vectors.grad[rows[4]].any()
    assert vectors.grad[rows[7]].any()
    assert float(category_alignment(vectors, torch.zeros_like(category))) == 0.0


@pytest.mark.parametrize("num_categories", [None, 3, 20])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_categories_among_rows_that_are_not_meant(share: float, num_categories: int | None) -> None:
    draw = torch.Generator().manual_seed(2)
    vectors = torch.randn(15, 2, 3, dtype=torch.float64, generator=draw, requires_grad=True)
    category, real = torch.randint(4, 7, (15,), generator=draw), torch.rand(15, generator=draw) < share
    wanted = category_alignment(vectors[real], category[real])
    with waits() as waited:
        found = category_alignment(vectors, category, real, num_categories)
        (gradient,) = torch.autograd.grad(found, vectors)
    assert waited == []
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(gradient, torch.autograd.grad(wanted, vectors)[0])


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_alignment_is_of_the_vectors_that_are_compared_on_labelled_rows(similarity: str) -> None:
    schema = _schema()
    model = build("dat", schema, "model.net.category_field=item", f"model.net.similarity={similarity}")
    batch = make_batch(schema)
    item = torch.tensor([[0], [0], [0], [1], [1], [0], [1], [0]])
    observed = torch.tensor([[1, 1], [1, 0], [0, 1], [1, 1], [0, 1], [1, 1], [0, 0], [1, 1]], dtype=torch.bool)
    batch = replace(batch, candidate=replace(batch.candidate, ids=item), observed=observed)
    batch = replace(batch, weight=torch.tensor([1.0, 1, 1, 1, 1, 1, 1, 0]))
    rows = torch.tensor([0, 1, 2, 3, 4, 5])
    found = model(batch).penalties["alignment"].mean()
    expected = category_alignment(model.encode_candidate(batch.candidate)[rows], item[rows, 0])  # type: ignore[operator]
    torch.testing.assert_close(found, 0.01 * expected)
    with torch.no_grad():
        for parameter in model.candidate_tower.project.parameters():  # type: ignore[union-attr]
            parameter.mul_(0.1)
    shrunk = model(batch).penalties["alignment"].mean()
    torch.testing.assert_close(shrunk, found * (1 if similarity == "cosine" else 1e-4))


def test_pairs_are_contrasted_with_labelled_rows() -> None:
    schema = _schema()
    model = build("int_tower", schema, "model.net.contrast_temperature=0.5")
    batch = make_batch(schema)
    labels = torch.tensor([[1, 0], [0, 1], [1, 1], [1, 0], [0, 0], [1, 1], [0, 0], [1, 0]]).float()
    observed = torch.tensor([[1, 1], [1, 0], [0, 1], [1, 1], [0, 1], [1, 1], [0, 0], [1, 1]], dtype=torch.bool)
    weight = torch.tensor([2.0, 1, 1, 0.5, 1, 1, 1, 0])
    batch = replace(batch, labels=labels, observed=observed, weight=weight)
    u = model.encode_request(batch.request)[:, -1, 0].mean(1)[batch.request_index]  # type: ignore[operator]
    v = model.encode_candidate(batch.candidate)[:, 0].mean(1)  # type: ignore[operator]
    expected = torch.zeros(())
    for row, share in ((0, 2.0), (3, 0.5), (5, 1.0)):
        cosines = torch.cosine_similarity(u[row].unsqueeze(0), v[:6], dim=1) / 0.5
        expected = expected - share * cosines.log_softmax(0)[row] / 3.5
    torch.testing.assert_close(model(batch).penalties["contrast"].mean(), 0.1 * expected)


def test_categories_of_two_rows_have_a_covariance_and_of_one_row_none() -> None:
    vectors = torch.randn(6, 1, 2, dtype=torch.float64)
    found = category_alignment(vectors, torch.tensor([3, 5, 3, 5, 3, 9]))
    major, minor = torch.cov(vectors[[0, 2, 4], 0].T), torch.cov(vectors[[1, 3], 0].T)
    torch.testing.assert_close(found, (major - minor).square().sum())


def test_heads_meet_as_the_equation_says() -> None:
    schema = _schema()
    model = build("int_tower", schema).eval()
    batch = make_batch(schema)
    u = model.encode_request(batch.request)[batch.request_index]
    v = model.encode_candidate(batch.candidate)
    expected = torch.zeros(8, 2)
    for layer in range(2):
        for head in range(4):
            expected += torch.stack([(u[:, layer, :, head] * v[:, :, g]).sum(-1) for g in range(4)]).amax(0)
    torch.testing.assert_close(model(batch).logits, expected * model.log_scale.exp() + model.bias)
    assert not model(batch).penalties
    model.train()
    plain = build("int_tower", schema, "model.net.contrast_weight=0")
    assert set(model(batch).penalties) == {"contrast"}
    assert not plain(batch).penalties
    empty = replace(batch, labels=torch.zeros_like(batch.labels))
    assert float(model(empty).penalties["contrast"].mean()) == 0.0
