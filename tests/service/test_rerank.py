"""/top_k of a bundle that re-ranks: as the bundle does, or not if the request says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from distill.data.prepare.progress import PassProgress
from distill.export import BundleOptions
from distill.jobs.export import ItemOptions, export_bundle
from distill.service.scoring import Body
from distill.serving import Bundle, Quota, Rerank
from tests.export.conftest import Log
from tests.export.raw import catalogue
from tests.service.conftest import REQUEST, Bundles, Client

pytestmark = pytest.mark.slow  # tests/export/test_rerank.py holds what is served

ITEMS = [f"i{n}" for n in range(20)]
COLUMNS: dict[str, Any] = {"bid": [1.0 + n % 3 for n in range(20)], "seller": [f"s{n % 4}" for n in range(20)]}
BODY: dict[str, Any] = {"request": REQUEST, "items": ITEMS, "candidates": COLUMNS, "k": 8}
MMR = Rerank(type="mmr", trade_off=0.3, quotas=(Quota(column="seller", most=1, window=3),))


@pytest.fixture(scope="module")
def reranking(log: Log, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    root = tmp_path_factory.mktemp("reranking")
    pq.write_table(catalogue(), root / "items.parquet")
    items = ItemOptions(str(root / "items.parquet"), torch.device("cpu"))
    with PassProgress(False) as bars:
        export_bundle(log.trained("two_tower"), root / "b", BundleOptions(exported=False, rerank=MMR), items, bars)
    return Bundle.load(root / "b")


@pytest.fixture
def served(client: Client, reranking: Bundle) -> Any:
    return client(bundle=Path(reranking.root), candidates=60, top_k=20)


def test_top_k_is_that_of_the_bundle(served: Any, reranking: Bundle) -> None:
    wanted = reranking.top_k(REQUEST, COLUMNS, ITEMS, k=8)
    plain = reranking.top_k(REQUEST, COLUMNS, ITEMS, k=8, rerank=False)
    found = served.post("/top_k", json=BODY).json()
    assert found["positions"] == wanted.positions.tolist() != plain.positions.tolist()
    assert found["items"] == wanted.items
    assert found["ranking_score"] == pytest.approx(wanted.scores.ranking_score.tolist(), rel=1e-6)
    assert served.post("/top_k", json={**BODY, "rerank": True}).json() == found
    sellers = [COLUMNS["seller"][place] for place in found["positions"]]
    assert all(len(set(sellers[i : i + 3])) == 3 for i in range(6))


def test_a_request_may_go_without(served: Any, reranking: Bundle) -> None:
    plain = reranking.top_k(REQUEST, COLUMNS, ITEMS, k=8, rerank=False)
    alone = {**BODY, "candidates": {"bid": COLUMNS["bid"]}, "rerank": False}
    assert served.post("/top_k", json=alone).json()["positions"] == plain.positions.tolist()


def test_requests_that_are_scored_together_are_re_ranked_alone(served: Any) -> None:
    scorer = served.app_state["service"].scorer
    bodies = [
        BODY,
        {**BODY, "items": ITEMS[::-1]},
        {**BODY, "rerank": False},
        {**BODY, "request": {**REQUEST, "user": 7}},
    ]
    sent = [json.dumps(body).encode() for body in bodies]
    found = scorer.answer_together([Body(one, is_top=True) for one in sent])
    positions = [json.loads(one)["positions"] for one in found]
    assert positions == [json.loads(scorer.top_k(one))["positions"] for one in sent]
    assert len({tuple(one) for one in positions}) > 2


def test_items_that_are_left_out_leave_their_categories_too(served: Any, reranking: Bundle) -> None:
    known = [n for n in range(20) if n % 5]
    body = {**BODY, "items": [ITEMS[n] if n % 5 else f"new{n}" for n in range(20)], "missing": "skip"}
    columns = {name: [values[n] for n in known] for name, values in COLUMNS.items()}
    wanted = reranking.top_k(REQUEST, columns, [ITEMS[n] for n in known], k=8)
    found = served.post("/top_k", json=body).json()
    assert found["positions"] == [known[place] for place in wanted.positions]
    assert found["items"] == wanted.items


def test_new_items_are_re_ranked_with_the_others(client: Client, reranking: Bundle) -> None:
    served = client(bundle=Path(reranking.root), token=b"t")
    headers = {"Authorization": "Bearer t"}
    row = {name: [values[0]] for name, values in catalogue(count=1, shift=7).to_pydict().items()}
    assert served.post("/items", json={"candidates": {**row, "item": ["new"]}}, headers=headers).status_code == 200
    found = served.post("/top_k", json={**BODY, "items": [*ITEMS[:19], "new"], "k": 20}, headers=headers)
    assert sorted(found.json()["positions"]) == list(range(20))


@pytest.mark.parametrize(
    ("route", "change", "where"),
    [
        ("/top_k", {"candidates": {"bid": COLUMNS["bid"]}}, "column 'seller'"),
        ("/top_k", {"candidates": {**COLUMNS, "seller": [["s"]] * 20}}, "column 'seller'"),
        ("/top_k", {"rerank": "no"}, "body, rerank"),
        ("/top_k", {"rerank": {"type": "mmr"}}, "body, rerank"),
        ("/score", {"rerank": False}, "body"),
    ],
)
def test_what_is_wrong_is_named(served: Any, route: str, change: dict[str, Any], where: str) -> None:
    body = {**BODY, **change}
    if route == "/score":
        body.pop("k")
    found = served.post(route, json=body)
    assert found.status_code == 400
    assert where in found.json()["where"]


def test_the_document_says_it(served: Any, client: Client, bundles: Bundles) -> None:
    top = served.get("/openapi.json").json()["components"]["schemas"]["top_k"]["properties"]
    assert "seller" in top["candidates"]["properties"]
    assert top["rerank"]["type"] == "boolean"
    assert "mmr with trade_off 0.3" in top["rerank"]["description"]
    without = client(bundle=bundles.path("b0")).get("/openapi.json").json()["components"]["schemas"]
    assert "order of the ranking score" in without["top_k"]["properties"]["rerank"]["description"]
    assert "rerank" not in without["score"]["properties"]
