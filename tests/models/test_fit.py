"""FIT: its formula, both ways for an item to take queries, and what is stored of an item."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from distill.batch import Batch
from distill.errors import ConfigError
from distill.export.quantise import restored, store_as
from distill.models import FIT
from distill.models.cost import online_flops
from distill.schema import Schema
from tests.batches import make_batch, make_schema
from tests.models.composing import build

BODY = ("model.net.body.hidden_units=[6]", "model.net.scorer_units=[5]", "model.net.num_heads=2")
SIZES = ("model.net.num_queries=5", "model.net.query_dim=3")


def _schema() -> Schema:
    return make_schema().serving_view()


def _fit(*overrides: str) -> FIT:
    model = build("fit", _schema(), *BODY, *SIZES, *overrides).eval()
    assert isinstance(model, FIT)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


def _relu(x: Any) -> Any:
    return np.maximum(x, 0)


def _by_hand(w: Mapping[str, Any], batch: Batch, hard: bool) -> Any:
    """Logits, candidate by candidate and query by query."""
    items, users, hours = w["tables.weights.4"][12:32], w["tables.weights.4"][:12], w["tables.weights.3"]
    q = w["meta_queries.matrix"]
    queries = q @ q.T @ q
    history = batch.request.sequences["history"]
    starts = np.cumsum([0, *history.lengths.tolist()])
    logits = np.zeros((batch.num_candidates, 2))
    for n, r in enumerate(batch.request_index.tolist()):
        x = np.concatenate([items[int(batch.candidate.ids[n, 0])], batch.candidate.vectors["image"][n].numpy()])
        x = np.concatenate([x, batch.candidate.numbers[n].numpy()])
        shares = np.exp((w["meta_queries.from_item.weight"] @ x + w["meta_queries.from_item.bias"]) @ q.T)
        shares = shares / shares.sum()
        shares = (shares == shares.max()).astype(float) if hard else shares
        own = _relu(w["candidate_tower.body.mlp.blocks.0.0.weight"] @ x + w["candidate_tower.body.mlp.blocks.0.0.bias"])
        v = (w["candidate_tower.project.weight"] @ own + w["candidate_tower.project.bias"]).reshape(2, 2, 4)
        user, hour = batch.request.ids[r].tolist()
        fixed = np.concatenate([hours[hour], users[user], batch.request.numbers[r].numpy()])
        keys = items[history.values[starts[r] : starts[r + 1]].numpy()]
        u = np.zeros((2, 2, 4))
        for share, query in zip(shares, queries, strict=True):
            scores = np.exp(keys @ (w["request_tower.attention.history.project.weight"] @ query) / 2)
            attended = (scores[:, None] * keys).sum(0) / (scores.sum() + 1)
            row = np.concatenate([fixed, attended, query])
            hidden = _relu(
                w["request_tower.body.mlp.blocks.0.0.weight"] @ row + w["request_tower.body.mlp.blocks.0.0.bias"]
            )
            heads = w["request_tower.project.weight"] @ hidden + w["request_tower.project.bias"]
            u += share * heads.reshape(2, 2, 4)
        for k in range(2):
            products = (u[k] @ v[k].T / 2).reshape(4)
            hidden = _relu(products @ w["scorer.towers.first"][k] + w["scorer.towers.biases.0"][k])
            logits[n, k] = hidden @ w["scorer.weight"][k] + w["scorer.bias"][k]
    return logits


@pytest.mark.parametrize("assignment", ["soft", "hard"])
def test_logits_are_those_of_the_equation(assignment: str) -> None:
    model, batch = _fit(f"model.net.assignment={assignment}"), make_batch(_schema())
    w = {name.removeprefix("request_tower.encoder."): p.detach().numpy() for name, p in model.named_parameters()}
    expected = _by_hand(w, batch, assignment == "hard")
    np.testing.assert_allclose(model(batch).logits.detach().numpy(), expected, atol=1e-4)
    model.train()
    np.testing.assert_allclose(model(batch).logits.detach().numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("assignment", ["soft", "hard"])
def test_one_request_is_scored_as_among_others(assignment: str) -> None:
    model, batch = _fit(f"model.net.assignment={assignment}"), make_batch(_schema())
    request, stored = model.encode_request(batch.request), model.encode_candidate(batch.candidate)
    expected = model.interact(request, stored, batch.cross, batch.request_index).logits
    for one in range(3):
        (rows,) = (batch.request_index == one).nonzero(as_tuple=True)
        found = model.interact_single(request[one : one + 1], stored[rows], batch.cross.select(rows))
        torch.testing.assert_close(found, expected[rows])


def test_weights_are_stored_apart_from_heads_and_an_item_that_takes_one_query_does_so_in_eight_bits() -> None:
    model, batch = _fit("model.net.assignment=hard"), make_batch(_schema())
    stored = model.encode_candidate(batch.candidate).detach()
    assert stored.shape == (8, 2 + 2 * 2, 4)  # five weights are two rows of four
    assert torch.equal(stored[:, :2].flatten(1)[:, :5].sum(1), torch.ones(8))
    assert not stored[:, :2].flatten(1)[:, 5:].any()
    packed = torch.from_numpy(restored(*store_as(stored.numpy(), "int8")))
    assert torch.equal(packed[:, :2], stored[:, :2])
    request = model.encode_request(batch.request)
    exact, near = (model.interact(request, v, batch.cross, batch.request_index) for v in (stored, packed))
    assert torch.equal(exact.hidden["request"], near.hidden["request"])


def test_taking_one_query_spares_the_mixture_for_each_candidate() -> None:
    schema = _schema()
    (_, soft), (_, hard) = (online_flops(_fit(f"model.net.assignment={a}"), schema) for a in ("soft", "hard"))
    assert soft.flops - hard.flops == 2 * 5 * 2 * 2 * 4
    assert soft.lookups == hard.lookups == 0


def test_a_query_is_asked_of_each_request_alone() -> None:
    """What a request costs grows with the queries, not with the candidates."""
    schema = _schema()
    few, many = (build("fit", schema, *BODY, f"model.net.num_queries={m}").eval() for m in (2, 8))
    batch = make_batch(schema, (3, 5))
    assert few.encode_request(batch.request).shape == (2, 2, 2 * 2 * 4)  # type: ignore[operator]
    assert many.encode_request(batch.request).shape == (2, 8, 2 * 2 * 4)  # type: ignore[operator]


def test_impossible_options_are_refused() -> None:
    for wrong in ("model.net.num_heads=0", "model.net.scorer_units=[0]", "model.net.assignment=nearest"):
        with pytest.raises(ConfigError):
            build("fit", _schema(), wrong)
    with pytest.raises(ConfigError, match="sequence=mean"):
        build("fit", _schema(), "sequence@model.net.sequence=transformer")
