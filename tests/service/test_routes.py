"""What the routes answer is what the bundle says; what is wrong with a request is named."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill.export import BundleOptions, write_bundle
from distill.serving import Bundle
from tests.export.conftest import Log
from tests.export.raw import catalogue
from tests.marks import slow_except
from tests.service.conftest import REQUEST, Bundles, Client

ITEMS = [f"i{n}" for n in (4, 0, 33, 17, 4)]
BIDS = {"bid": [1.0, 2.0, 0.5, 1.0, 3.0]}
BODY: dict[str, Any] = {"request": REQUEST, "items": ITEMS, "candidates": BIDS}


@pytest.fixture
def b0(client: Client, bundles: Bundles) -> Any:
    return client(bundle=bundles.path("b0"), in_flight=4, candidates=60, top_k=10, body_bytes=20_000)


def test_scores_are_those_of_the_bundle(b0: Any, bundle: Bundle) -> None:
    wanted = bundle.score(REQUEST, BIDS, ITEMS)
    found = b0.post("/score", json=BODY).json()
    assert found["version"] == bundle.version
    np.testing.assert_allclose(found["ranking_score"], wanted.ranking_score, rtol=1e-6)
    for task, values in wanted.predictions.items():
        np.testing.assert_allclose(found["predictions"][task], values, rtol=1e-6)


def test_raw_columns_are_scored(b0: Any, bundle: Bundle) -> None:
    columns = catalogue().slice(0, 5).to_pydict() | BIDS
    found = b0.post("/score", json={"request": REQUEST, "candidates": columns, "fields": ["logits"]}).json()
    np.testing.assert_allclose(found["logits"], bundle.score(REQUEST, columns).logits, rtol=1e-6)
    assert set(found) == {"version", "logits"}


def test_the_best_come_first(b0: Any, bundle: Bundle) -> None:
    wanted = bundle.score(REQUEST, BIDS, ITEMS)
    order = wanted.order()[:3]
    found = b0.post("/top_k", json={**BODY, "k": 3, "fields": ["ranking_score", "buy"]}).json()
    assert found["positions"] == order.tolist()
    assert found["items"] == [ITEMS[place] for place in order]
    np.testing.assert_allclose(found["predictions"]["buy"], wanted.predictions["buy"][order], rtol=1e-6)
    assert len(b0.post("/top_k", json={**BODY, "k": 10}).json()["positions"]) == len(ITEMS)


def test_items_without_a_vector_are_named_or_left_out(b0: Any) -> None:
    body = {**BODY, "items": ["i4", "new", "i33", "i17", "newer"]}
    found = b0.post("/score", json=body)
    assert found.status_code == 400
    assert "'new'" in found.json()["found"]
    skipped = b0.post("/score", json={**body, "missing": "skip"}).json()
    assert skipped["missing"] == ["new", "newer"]
    assert skipped["positions"] == [0, 2, 3]
    best = b0.post("/top_k", json={**body, "missing": "skip", "k": 9}).json()
    assert sorted(best["positions"]) == [0, 2, 3]
    assert len(best["items"]) == 3


def test_none_of_the_items_is_known(b0: Any) -> None:
    body = {"request": REQUEST, "items": ["x"], "candidates": {"bid": [1.0]}, "missing": "skip", "k": 2}
    found = b0.post("/top_k", json=body)
    assert found.status_code == 200
    assert found.json()["items"] == []


@pytest.mark.slow
def test_a_whole_model_is_served(client: Client, whole: Path) -> None:
    """Its items have features by key; those of new items come in front, however long their lists are."""
    served = client(bundle=whole, token=b"t")
    headers = {"Authorization": "Bearer t"}
    rows = catalogue().slice(0, 5).to_pydict()
    pair = BIDS | {"match": [0.1] * 5, "reason": ["r1"] * 5}

    def score(**candidates: Any) -> Any:
        return served.post("/score", json={"request": REQUEST, **candidates}, headers=headers)

    by_columns = score(candidates=rows | pair).json()["ranking_score"]
    assert score(candidates=pair, items=rows["item"]).json()["ranking_score"] == pytest.approx(by_columns, rel=1e-6)
    assert score(candidates=pair, items=["i0", "i1", "n0", "n1", "n1"]).status_code == 400
    new = catalogue(seed=8).slice(0, 2).to_pydict() | {"item": ["n0", "n1"], "tags": [list(range(8)), []]}
    assert served.post("/items", json={"candidates": new}, headers=headers).json()["held"] == 2
    mixed = score(candidates=pair, items=["i0", "n1", "i1", "n0", "n0"]).json()["ranking_score"]
    own = {name: [rows[name][0], new[name][1], rows[name][1], new[name][0], new[name][0]] for name in rows}
    assert mixed == pytest.approx(score(candidates=own | pair).json()["ranking_score"], rel=1e-6)
    shorter = new | {"tags": [[3], [1, 2, 3]]}
    assert served.post("/items", json={"candidates": shorter}, headers=headers).json()["held"] == 2
    again = score(candidates=pair, items=["n0", "n1", "n0", "n1", "n0"]).json()["ranking_score"]
    own = {name: [shorter[name][place] for place in (0, 1, 0, 1, 0)] for name in rows}
    assert again == pytest.approx(score(candidates=own | pair).json()["ranking_score"], rel=1e-6)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"request": {**REQUEST, "city": "Rome"}}, "city"),
        ({"request": {"user": 3}}, "city"),
        ({"request": [1]}, "body, request"),
        ({"items": "i4"}, "body, items"),
        ({"items": ["i4", 1, "i1", "i2", "i3"]}, "body, items"),
        ({"items": [1, 2, 3, 4, 5]}, "item"),
        ({"items": ["i1"] * 61}, "body, items"),
        ({"items": ["i1"]}, "body, items"),
        ({"items": None, "candidates": {}}, "body"),
        ({"candidates": {"bid": 1.0}}, "column 'bid'"),
        ({"candidates": {"bid": [0.0] * 5}}, "bid"),
        ({"candidates": {"bid": [1.0] * 5, "x": [1]}}, "body, candidates"),
        ({"candidates": {}}, "bid"),
        ({"fields": ["dwell"]}, "body, fields"),
        ({"fields": [["dwell"]]}, "body, fields"),
        ({"missing": "perhaps"}, "body, missing"),
        ({"k": 0}, "body, k"),
        ({"k": 11}, "body, k"),
        ({"k": True}, "body, k"),
        ({"surprise": 1}, "body"),
        ({"version": 7}, "body, version"),
    ],
)
def test_what_is_wrong_is_named(b0: Any, bundles: Bundles, change: dict[str, Any], where: str) -> None:
    found = b0.post("/top_k", json={**BODY, "k": 3, **change})
    assert found.status_code == 400
    said = found.json()
    assert where in said["where"], said
    assert set(said) == {"error", "where", "expected", "found", "remedy"}
    assert str(bundles.root) not in found.text


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"items": [NaN]}', b"\xff\xfe", b"[" * 5000, b'"\\ud800"']
)
def test_what_is_no_json_is_an_error(b0: Any, body: bytes) -> None:
    assert b0.post("/score", content=body).status_code == 400


def test_sizes_are_bounded(b0: Any) -> None:
    assert b0.post("/score", content=b"[" + b"1," * 20_000 + b"1]").status_code == 413
    chunks = b0.post("/score", content=(b"x" * 1000 for _ in range(30)))  # without a length
    assert chunks.status_code == 413


def test_other_paths_and_methods(b0: Any) -> None:
    assert b0.get("/nothing").status_code == 404
    assert b0.get("/score").status_code == 405
    assert b0.get("/docs").status_code == 404
    assert "error" in b0.get("/nothing").json()


def test_state_and_metrics(b0: Any, bundle: Bundle) -> None:
    b0.post("/score", json=BODY)
    b0.post("/score", content=b"{")
    assert b0.get("/healthz").json() == {"status": "ok"}
    ready = b0.get("/readyz").json()
    assert (ready["status"], ready["bundle"], ready["version"]) == ("ready", "b0", bundle.version)
    text = b0.get("/metrics").text
    assert 'distill_requests_total{route="/score",status="200"} 1.0' in text
    assert 'distill_requests_total{route="/score",status="400"} 1.0' in text
    assert f'distill_bundle_info{{name="b0",version="{bundle.version}"}} 1.0' in text
    assert 'distill_request_seconds_count{route="/score"} 2.0' in text
    assert "distill_in_flight 0.0" in text


def test_the_document_names_the_columns_of_the_bundle(b0: Any) -> None:
    said = b0.get("/openapi.json").json()
    assert {"/score", "/top_k", "/items", "/healthz", "/readyz", "/metrics"} <= set(said["paths"])
    schemas = said["components"]["schemas"]
    assert set(schemas["score"]["properties"]["request"]["properties"]) == set(REQUEST)
    assert schemas["top_k"]["properties"]["k"]["maximum"] == 10
    assert schemas["score"]["properties"]["fields"]["items"]["enum"] == [
        "ranking_score",
        "logits",
        "click",
        "buy",
        "stars",
    ]
    assert "match" not in json.dumps(schemas)  # a two-tower does not read it


@pytest.mark.parametrize("kind", slow_except(["vectors", "features", "alone"], "vectors"))
def test_the_example_of_the_card_is_answered(
    client: Client, bundles: Bundles, whole: Path, log: Log, tmp_path: Path, kind: str
) -> None:
    folder = {"vectors": bundles.path("b0"), "features": whole}.get(kind, tmp_path / "alone")
    if kind == "alone":
        write_bundle(log.trained("two_tower"), folder, BundleOptions(exported=False))
    (command,) = [line for line in (folder / "README.md").read_text().splitlines() if line.startswith("curl ")]
    *_, route, flag, body = shlex.split(command)
    assert (route, flag) == ("localhost:8080/top_k", "-d")
    assert ("items" in json.loads(body)) == (kind != "alone")
    answer = client(bundle=folder).post("/top_k", content=body)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["positions"]) == 2
