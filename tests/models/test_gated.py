"""Pre-rankers that choose their fields, and the one that is fitted."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from distill.batch import Batch
from distill.errors import ConfigError
from distill.features import FieldSelection
from distill.layers.linear_log import linear_log
from distill.models.prerankers import grouped
from distill.models.prerankers.fitted import FittedPreRanker
from distill.models.prerankers.fscd import FSCD
from distill.models.prerankers.grouped import GatedPreRanker
from distill.schema import Schema
from tests.batches import make_batch, make_schema
from tests.models.composing import build

KEPT = "[user, history, price, seen]"


def _schema() -> Schema:
    return make_schema().serving_view()


@pytest.mark.parametrize("name", ["cold", "fscd"])
def test_fields_that_are_not_kept_are_not_read(name: str) -> None:
    schema = _schema()
    model = build(name, schema, f"model.net.fields={KEPT}").eval()
    assert isinstance(model, GatedPreRanker)
    assert list(model.fields.groups) == ["user", "history", "price", "seen"]
    batch = make_batch(schema)
    other = replace(
        batch,
        candidate=replace(batch.candidate, ids=19 - batch.candidate.ids, vectors={"image": torch.zeros(8, 4)}),
    )
    assert torch.equal(model(batch).logits, model(other).logits)
    seen = replace(batch, cross=replace(batch.cross, numbers=batch.cross.numbers + 1))
    assert not torch.equal(model(batch).logits, model(seen).logits)
    assert model.group_weights(batch).shape == (8, 4)


def test_selected_fields_are_a_batch_of_a_smaller_schema() -> None:
    schema = _schema()
    kept = {"hour", "age", "image", "history"}
    batch = FieldSelection(schema, kept)(make_batch(schema))
    assert batch.request.ids.shape == (3, 1)
    assert batch.candidate.ids.shape == (8, 0)
    assert batch.cross.numbers.shape == (8, 0)
    assert set(batch.candidate.vectors) == {"image"}


def test_groups_have_one_weight() -> None:
    schema = _schema()
    model = build("cold", schema, "model.net.groups={who: [user, age, hour], what: [item, image]}").eval()
    assert isinstance(model, GatedPreRanker)
    assert model.fields.groups == {
        "who": ["user", "age", "hour"],
        "what": ["item", "image"],
        **{name: [name] for name in ("history", "price", "seen")},
    }
    assert model.fields.widths["who"] == 4 + 1 + 3
    weights = model.group_weights(make_batch(schema))
    assert weights.shape == (8, 5)
    assert bool(((weights > 0) & (weights < 1)).all())


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("model.net.fields=[nothing]", "cannot be selected"),
        ("model.net.fields=[]", "cannot be selected"),
        ("model.net.groups={a: [user], b: [user]}", "do not cover"),
        ("model.net.groups={user: [age]}", "do not cover"),
    ],
)
def test_what_cannot_be_selected_is_refused(option: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build("cold", _schema(), option)


def test_large_numbers_are_compressed_unless_told_otherwise() -> None:
    schema = _schema()
    batch = make_batch(schema)
    large = replace(batch, cross=replace(batch.cross, numbers=batch.cross.numbers * 1e6))
    on, off = (build("cold", schema, f"model.net.compress={flag}").eval() for flag in ("true", "false"))
    assert float(on(large).logits.abs().max()) < 10 < float(off(large).logits.abs().max())


def test_without_a_gate_nothing_is_weighed() -> None:
    schema = _schema()
    batch = make_batch(schema)
    for name in ("cold", "fscd"):
        model = build(name, schema, "model.net.gate=false")
        assert isinstance(model, GatedPreRanker)
        assert torch.equal(model.group_weights(batch), torch.ones(8, 8))
        assert not model(batch).penalties
        assert not [n for n, _ in model.named_parameters() if "gate" in n or "keep" in n]


def test_costs_and_priors_of_fscd() -> None:
    schema = _schema()
    model = build("fscd", schema, "model.net.gammas=[2.0, 1.0, 0.5]", "model.net.costs={seen: 0.25}")
    assert isinstance(model, FSCD)
    cost = dict(zip(model.fields.groups, model.cost.tolist(), strict=True))  # type: ignore[operator]
    assert cost["seen"] == pytest.approx(0.25)
    assert cost["item"] == pytest.approx(2 * 0.5 + 1 + 0.5)
    assert cost["age"] == pytest.approx(1 / 4)
    assert model.keep_logit is not None
    torch.testing.assert_close(model.keep_logit.sigmoid(), 1 - torch.sigmoid(model.cost))  # type: ignore[arg-type]
    torch.manual_seed(0)
    gates = model._sampled(model.keep_logit)
    torch.manual_seed(0)
    penalty = model(make_batch(schema)).penalties["selection"].mean()
    torch.testing.assert_close(penalty, 0.001 * (model.cost * gates).sum())  # type: ignore[operator]
    assert not model.eval()(make_batch(schema)).penalties
    with pytest.raises(ConfigError, match="groups that do not exist"):
        build("fscd", schema, "model.net.costs={secret: 1.0}")
    with pytest.raises(ConfigError, match="three gammas"):
        build("fscd", schema, "model.net.gammas=[1.0]")


def _informative(schema: Schema, rows: int) -> Batch:
    """Labels that `seen` decides; all other fields are noise."""
    batch = make_batch(schema, (rows,), seed=3)
    labels = (batch.cross.numbers > 0).float().expand(-1, 2)
    return replace(batch, labels=labels)


@pytest.mark.slow
def test_fscd_drops_costly_noise_and_keeps_what_informs() -> None:
    torch.manual_seed(0)
    schema = _schema()
    model = build(
        "fscd", schema, "model.net.selection_weight=0.02", "model.net.costs={user: 1.0, item: 1.0, seen: 1.0}"
    )
    assert isinstance(model, FSCD)
    batch = _informative(schema, 512)
    optimizer = torch.optim.Adam([p for n, p in model.named_parameters() if "tables" not in n], lr=0.02)
    for _ in range(400):
        output = model(batch)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(output.logits, batch.labels)
        optimizer.zero_grad()
        (loss + output.penalties["selection"].mean()).backward()
        optimizer.step()
    kept = dict(zip(model.fields.groups, model.group_weights(batch)[0].tolist(), strict=True))
    assert kept["seen"] > 0.6
    assert kept["user"] < 0.2
    assert kept["item"] < 0.2


def test_quality_score_is_the_smoothed_rate_of_each_item() -> None:
    schema = _schema()
    model = build("quality_score", schema, "model.net.prior_rows=2.0")
    assert isinstance(model, FittedPreRanker)
    batch = make_batch(schema, (40,), seed=5)
    observed = torch.rand(40, 2, generator=torch.Generator().manual_seed(1)) < 0.7
    batch = replace(batch, observed=observed)
    model.fit([batch.select(torch.arange(15)), batch.select(torch.arange(15, 40))])
    item = batch.candidate.ids[:, 0]
    for k in range(2):
        overall = float(batch.labels[observed[:, k], k].mean())
        for i in range(20):
            rows = observed[:, k] & (item == i)
            rate = (float(batch.labels[rows, k].sum()) + 2 * overall) / (int(rows.sum()) + 2)
            assert float(model.logits[i, k].sigmoid()) == pytest.approx(rate, abs=1e-6)  # type: ignore[index, operator]
    assert torch.equal(model(batch).logits, model.logits[item])  # type: ignore[index]
    assert not list(model.parameters())


def test_popularity_orders_by_count() -> None:
    schema = _schema()
    model = build("quality_score", schema, "model.net.kind=popularity")
    assert isinstance(model, FittedPreRanker)
    batch = make_batch(schema, (200,), seed=5)
    model.fit([batch])
    counts = torch.bincount(batch.candidate.ids[:, 0], minlength=20)
    order = model.logits[:, 0].argsort()  # type: ignore[index, union-attr, operator]
    assert bool((counts[order].diff() >= 0).all())
    with pytest.raises(ConfigError, match="no such quality score"):
        build("quality_score", schema, "model.net.kind=best")
    with pytest.raises(ConfigError, match="needs an id field"):
        build("quality_score", schema, "model.net.item_field=price")


def test_numbers_and_vectors_alone_are_compressed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fields are those without compression, with linear_log in their columns and no other; it sees no more."""
    schema = _schema()
    batch = make_batch(schema)
    on, off = (build("cold", schema, f"model.net.compress={flag}").eval().fields for flag in ("true", "false"))
    off.load_state_dict(on.state_dict())
    widths: list[int] = []

    def seen(values: Tensor) -> Tensor:
        widths.append(values.shape[1])
        return linear_log(values)

    monkeypatch.setattr(grouped, "linear_log", seen)
    layout = on.encoder.layout
    is_dense = torch.tensor([f in layout.dense for m in on.groups.values() for f in m for _ in range(layout.widths[f])])
    plain = off(batch)
    assert torch.equal(on(batch), torch.where(is_dense, linear_log(plain), plain))
    assert widths == [int(is_dense.sum())]
    assert 0 < widths[0] < len(is_dense)
