"""Every ranker of `conf/model`: composes for three kinds of data, learns, counts its weights, loads and scores."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import pytest
import torch

from distill.batch import Batch, Ragged
from distill.errors import ConfigError
from distill.jobs.parts import load_model, model_card
from distill.layers.batch_norm import BatchNorm
from distill.layers.feature_gate import FeatureGate
from distill.layers.mlp import MLP
from distill.models import InteractionRanker
from distill.schema import Schema
from distill.training.optim import count_weights
from tests.batches import make_batch, make_schema
from tests.marks import slow_except, some_fast
from tests.models.composing import DATASETS, build, composed_net, overfit, prepare_data
from tests.models.listing import BODIES, RANKERS, TRUNKS


@pytest.fixture(scope="module", params=DATASETS)
def data(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Schema, Batch]:
    return prepare_data(request.param, tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("name", some_fast(RANKERS, 3))
def test_composes_and_learns_from_every_field(name: str, data: tuple[Schema, Batch]) -> None:
    schema, batch = data
    model = build(name, schema)
    output = model(batch)
    assert output.logits.shape == (batch.num_candidates, len(schema.tasks))
    output.logits.square().sum().backward()
    without = [n for n, p in model.named_parameters() if p.grad is None]
    assert not without


@pytest.mark.parametrize("name", slow_except(RANKERS, "dcn_v2", "mmoe"))
def test_overfits(name: str) -> None:
    schema = make_schema()
    batch = make_batch(schema, (16, 16, 1, 31), seed=1)
    if name == "lr":  # too few weights for any labels: here are some that a linear rule makes
        price, age = batch.candidate.numbers[:, 0], batch.request.numbers[:, 0].index_select(0, batch.request_index)
        batch = replace(batch, labels=torch.stack([price + age > 0, price > age], dim=1).float())
    if name == "esmm":  # a later task's positives are among those of the one before, or no product gives them
        batch = replace(batch, labels=batch.labels.cumprod(dim=1))
    aucs = overfit(build(name, schema), batch)
    assert min(aucs.values()) > 0.99


@pytest.mark.parametrize("name", some_fast(RANKERS, 3))
@pytest.mark.parametrize("tasks", [("click",), ("click", "like", "buy")])
def test_a_batch_of_one_and_any_number_of_tasks(name: str, tasks: tuple[str, ...]) -> None:
    schema = make_schema(tasks)
    model = build(name, schema)
    assert model(make_batch(schema, (1,))).logits.shape == (1, len(tasks))
    assert model(make_batch(schema)).logits.shape == (8, len(tasks))


@pytest.mark.parametrize("name", some_fast(RANKERS, 3))
def test_scores_each_pair_for_itself(name: str) -> None:
    schema = make_schema()
    model = build(name, schema).eval()
    batch = make_batch(schema, (3, 5))
    rows = torch.tensor([1, 4, 6])
    expected = model(batch).logits.index_select(0, rows)
    torch.testing.assert_close(model(batch.select(rows)).logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", some_fast(RANKERS, 3))
def test_saves_loads_and_scores_identically(name: str, tmp_path: Path) -> None:
    schema, net = make_schema(), composed_net(name)
    model = build(name, schema).eval()
    state = {f"model.{key}": value for key, value in model.state_dict().items()}
    torch.save({"state_dict": state, "distill": model_card(net, schema, "f")}, tmp_path / "x.ckpt")
    batch = make_batch(schema)
    assert torch.equal(load_model(tmp_path / "x.ckpt").model(batch).logits, model(batch).logits)


@pytest.mark.parametrize(("body", "trunk"), some_fast(product(BODIES, TRUNKS), 5))
def test_any_trunk_stands_on_any_body(body: str, trunk: str) -> None:
    schema = make_schema()
    output = build(trunk, schema, f"body@model.net.body={body}")(make_batch(schema))
    assert output.logits.shape == (8, 2)
    assert set(output.hidden) == {"body", "tasks"}


@pytest.mark.parametrize(
    "sequence", ["mean", "transformer", "target_attention", "searched_attention", "target_transformer"]
)
def test_any_way_to_read_sequences_goes_with_any_body(sequence: str) -> None:
    schema = make_schema()
    for body in ("dcn_v2", "dlrm", "fibinet"):
        model = build("dnn", schema, f"sequence@model.net.sequence={sequence}", f"body@model.net.body={body}")
        assert model(make_batch(schema)).logits.shape == (8, 2)


WIDTHS = {
    "user": 4,
    "hour": 3,
    "age": 1,
    "history": 4,
    "item": 4,
    "image": 4,
    "price": 1,
    "secret": 4,
    "seen": 1,
    "dwell": 1,
}
WIDTH = sum(WIDTHS.values())
TABLES = (12 + 20 + 5) * 4 + 6 * 3
LINEAR = (12 + 20 + 5 + 6) * 2 + (1 + 4 + 1 + 1 + 1) * 2 + 2
PROJECTION = 3 * 4 + 4 * 1 * 4  # hour and four numbers become as wide as the others


def _mlp(*widths: int) -> int:
    return sum((a + 1) * b for a, b in pairwise(widths))


def _pairs(widths: list[int]) -> int:
    return sum(a * b for i, a in enumerate(widths) for b in widths[i + 1 :])


def _gates(inputs: int, experts: int) -> int:
    return (inputs + 1) * experts


DEEP = _mlp(WIDTH, 256, 128)
EMBEDDED = [4, 4, 4, 4, 4]  # user, hour, history, item, secret at one width
BILINEAR_OUT = 2 * 10 * 4
FORMULAS = {
    "lr": LINEAR,
    "dnn": TABLES + DEEP + _mlp(128, 2),
    "deepfm": TABLES + PROJECTION + DEEP + _mlp(129, 2) + LINEAR,
    "kfm": TABLES + _pairs(list(WIDTHS.values())) + DEEP + _mlp(129, 2) + LINEAR,
    "dcn_v1": TABLES + 3 * 2 * WIDTH + DEEP + _mlp(WIDTH + 128, 2),
    "dcn_v2": TABLES + 3 * (WIDTH * WIDTH + WIDTH) + DEEP + _mlp(WIDTH + 128, 2),
    "xdeepfm": TABLES + PROJECTION + 32 * 10 * 10 + 32 * 16 * 10 + DEEP + _mlp(16 + 32 + 128, 2) + LINEAR,
    "fibinet": TABLES + 12 + 2 * 5 * 1 + 2 * 10 * 16 + _mlp(BILINEAR_OUT + 8, 256, 128) + _mlp(128, 2) + LINEAR,
    "final_mlp": TABLES + 2 * (4 + _mlp(4, 64, WIDTH)) + 2 * DEEP + 4 * 32 * 32 + _mlp(3 * 128, 2),
    "mask_net": TABLES
    + 2 * WIDTH
    + 3 * (_mlp(WIDTH, 2 * WIDTH, WIDTH) + WIDTH * 64 + 2 * 64)
    + _mlp(3 * 64, 256, 128)
    + _mlp(128, 2),
    "wukong": TABLES
    + PROJECTION
    + 10 * 8
    + 2 * 80
    + _mlp(80, 128, 16 * 4)
    + 16 * 10
    + 32 * 10
    + 2 * 4  # the first layer, of ten fields
    + 2 * (32 * 8 + 2 * 256 + _mlp(256, 128, 16 * 4) + 16 * 32 + 2 * 4)
    + _mlp(32 * 4, 256, 128)
    + _mlp(128, 2),
    "gdcn": TABLES + 3 * (2 * WIDTH * WIDTH + WIDTH) + DEEP + _mlp(128, 2),
    "autoint": TABLES + PROJECTION + 4 * 4 * 32 + 2 * 4 * 32 * 32 + _mlp(10 * 32, 2),
    "dlrm": TABLES + _mlp(8, 64, 4) + 12 + _mlp(15 + 4, 256, 128) + _mlp(128, 2),
    "din": TABLES + DEEP + _mlp(128, 2) + 3 * 4 * 36 + 36 + 1 + _mlp(36, 1),
    "bst": TABLES + DEEP + _mlp(128, 2) + 51 * 4 + (3 * 8 + _mlp(4, 12) + _mlp(4, 4) + _mlp(4, 16, 4)),
    "mmoe": TABLES + 4 * _mlp(WIDTH, 128) + 2 * _gates(WIDTH, 4) + 2 * _mlp(128, 64, 1),
    "cgc": TABLES + 6 * _mlp(WIDTH, 128) + 2 * _gates(WIDTH, 4) + 2 * _mlp(128, 64, 1),
    "shared_bottom": TABLES + 2 * _mlp(WIDTH, 256, 128, 1),
    "esmm": TABLES + 2 * _mlp(WIDTH, 256, 128, 1),
    "aitm": TABLES + 2 * _mlp(WIDTH, 128) + 4 * _mlp(128, 128) + 2 * _mlp(128, 64, 1),
    "ple": TABLES
    + 6 * _mlp(WIDTH, 128)
    + 2 * _gates(WIDTH, 4)
    + _gates(WIDTH, 6)
    + 6 * _mlp(128, 128)
    + 2 * _gates(128, 4)
    + 2 * _mlp(128, 64, 1),
}


@pytest.mark.parametrize("name", some_fast(FORMULAS, 3))
def test_counts_parameters_as_its_formula(name: str) -> None:
    assert count_weights(build(name, make_schema())) == FORMULAS[name]


def test_target_attention_shows_what_it_leaves_on_the_zero_vector() -> None:
    schema = make_schema()
    batch = make_batch(schema, (3, 5))
    history = Ragged(torch.tensor([3, 4]), torch.tensor([0, 2]))
    request = replace(batch.request, sequences={"history": history})
    weight = build("din", schema)(replace(batch, request=request)).hidden["zero_weight"]
    assert torch.equal(weight[:3], torch.ones(3, 1))
    assert bool(((weight[3:] > 0) & (weight[3:] < 1)).all())


def test_a_sequence_of_a_table_that_no_candidate_has_is_queried_by_all_its_fields() -> None:
    schema = make_schema()
    fields = [f.model_copy(update={"table": "other"}) if f.name == "history" else f for f in schema.fields]
    apart = schema.model_copy(update={"fields": tuple(fields)})
    model = build("din", apart)
    assert isinstance(model, InteractionRanker)
    assert set(model.encoder.queries) == {"history"}
    model(make_batch(apart)).logits.sum().backward()
    assert model.encoder.queries["history"].weight.grad is not None


def test_what_does_not_fit_is_refused() -> None:
    schema = make_schema()
    with pytest.raises(ConfigError, match="need a trunk"):
        build("dnn", schema, "model.net.tower_units=[8]")
    with pytest.raises(ConfigError, match="two gates"):
        build("final_mlp", schema, "model.net.body.contexts=[[item]]")
    with pytest.raises(ConfigError, match="parallel or serial"):
        build("mask_net", schema, "model.net.body.structure=stacked")
    with pytest.raises(ConfigError, match="low rank"):
        build("dcn_v2", schema, "model.net.body.num_experts=2")
    with pytest.raises(ConfigError, match="cannot depend on it"):
        build("two_tower", schema, "sequence@model.net.sequence=target_attention")


WITH_MLP = [name for name in BODIES if name not in ("cin", "cross", "fields", "fm")]


@pytest.mark.parametrize("body", slow_except(WITH_MLP, "dcn_v2", "dlrm", "autoint"))
def test_every_mlp_of_a_body_may_be_normalised(body: str) -> None:
    schema = make_schema()
    batch = make_batch(schema, (16, 16, 1, 31), seed=1)
    own = ["model.net.body.hidden_units=[8]"] if body == "autoint" else []
    model = build("dnn", schema, f"body@model.net.body={body}", "model.net.body.norm=batch", *own)
    gates = {id(part) for gate in model.modules() if isinstance(gate, FeatureGate) for part in gate.modules()}
    mlps = [mlp for mlp in model.modules() if isinstance(mlp, MLP) and id(mlp) not in gates]  # gates stay as they are
    blocks = [block for mlp in mlps for block in mlp.blocks]
    assert blocks
    assert all(isinstance(block[1], BatchNorm) for block in blocks)
    assert min(overfit(model, batch, 100).values()) > 0.9
    assert all(int(block[1].num_batches_tracked) == 100 for block in blocks)


def test_a_norm_of_no_mlp_is_refused() -> None:
    with pytest.raises(ConfigError, match="norm"):
        build("autoint", make_schema(), "model.net.body.norm=batch")


@pytest.mark.parametrize("name", ["dcn_v2", "din", "deepfm"])
def test_a_ranker_reads_the_fields_that_are_named(name: str) -> None:
    schema = make_schema().serving_view()
    kept = "model.net.fields=[user, item, price]"
    model = build(name, schema, kept, "model.net.linear=true").eval()
    assert isinstance(model, InteractionRanker)
    assert set(model.encoder.layout.widths) == {"user", "item", "price"}
    batch = make_batch(schema)
    history = replace(batch.request.sequences["history"], values=1 + batch.request.sequences["history"].values % 7)
    other = replace(
        batch,
        request=replace(batch.request, sequences={"history": history}),
        cross=replace(batch.cross, numbers=batch.cross.numbers + 1),
    )
    assert torch.equal(model(batch).logits, model(other).logits)
    dearer = replace(batch, candidate=replace(batch.candidate, numbers=batch.candidate.numbers + 1))
    assert not torch.equal(model(batch).logits, model(dearer).logits)


@pytest.mark.parametrize(("fields", "found"), [("[user, colour]", "colour"), ("[]", "none")])
def test_a_field_that_is_not_there_is_refused(fields: str, found: str) -> None:
    with pytest.raises(ConfigError, match=found):
        build("dcn_v2", make_schema(), f"model.net.fields={fields}")
