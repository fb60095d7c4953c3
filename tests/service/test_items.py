"""New items: behind a token, scored from then on, bounded, and of one version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill.service.new_items import NewItems
from distill.serving import Bundle
from tests.export.raw import catalogue
from tests.service.conftest import REQUEST, Bundles, Client, point_to

HEADERS = {"Authorization": "Bearer secret"}
NEW = catalogue(seed=9, count=6, shift=47).to_pydict()  # i47, i48 and i49 are of the catalogue
KEYS = NEW["item"]


@pytest.fixture
def b0(client: Client, bundles: Bundles) -> Any:
    return client(bundle=bundles.path("b0"), token=b"secret", new_items=8)


def score(service: Any, keys: list[str], **more: Any) -> Any:
    body = {"request": REQUEST, "items": keys, "candidates": {"bid": [1.0] * len(keys)}, **more}
    return service.post("/score", json=body, headers=HEADERS)


def test_new_items_are_scored_as_their_raw_columns_are(b0: Any, bundle: Bundle) -> None:
    assert score(b0, [*KEYS, "i3"]).status_code == 400
    put = b0.post("/items", json={"candidates": NEW}, headers=HEADERS)
    assert put.json() == {"version": bundle.version, "items": 6, "held": 6}
    found = score(b0, [*KEYS, "i3"], fields=["logits"]).json()["logits"]
    wanted = bundle.score(REQUEST, {**NEW, "bid": [1.0] * 6}).logits
    np.testing.assert_allclose(found[:6], wanted, rtol=1e-5)
    stored = bundle.score(REQUEST, {"bid": [1.0]}, ["i3"]).logits
    np.testing.assert_allclose(found[6:], stored, rtol=1e-5)
    assert score(b0, ["nobody", "i50"], missing="skip").json()["missing"] == ["nobody"]
    assert score(b0, ["nobody", "i50"]).status_code == 400


def test_an_item_is_replaced_and_their_number_bounded(b0: Any) -> None:
    assert b0.post("/items", json={"candidates": NEW}, headers=HEADERS).json()["held"] == 6
    changed = {**NEW, "price": [900.0] * 6}
    before = score(b0, KEYS).json()["ranking_score"]
    assert b0.post("/items", json={"candidates": changed}, headers=HEADERS).json()["held"] == 6
    assert score(b0, KEYS).json()["ranking_score"] != before
    many = catalogue(count=9, shift=70).to_pydict()
    refused = b0.post("/items", json={"candidates": many}, headers=HEADERS)
    assert refused.status_code == 400
    assert refused.json()["expected"] == "at most 8"


@pytest.mark.parametrize(
    ("candidates", "said"),
    [
        ({k: v for k, v in NEW.items() if k != "item"}, "no keys"),
        ({**NEW, "item": ["i60"] * 6}, "twice"),
        ({**NEW, "item": [1, 2, 3, 4, 5, 6]}, "type"),
        ({**NEW, "item": [None, "a", "b", "c", "d", "e"]}, "all text or all integers"),
        ({k: v for k, v in NEW.items() if k != "brand"}, "missing"),
        (None, "wrong type"),
    ],
)
def test_wrong_items_are_refused(b0: Any, candidates: Any, said: str) -> None:
    found = b0.post("/items", json={"candidates": candidates}, headers=HEADERS)
    assert found.status_code == 400
    assert said in found.json()["error"]


def test_no_items_are_no_change(b0: Any) -> None:
    empty: dict[str, list[Any]] = {name: [] for name in NEW}
    assert b0.post("/items", json={"candidates": empty}, headers=HEADERS).json()["held"] == 0
    assert score(b0, ["i3"]).status_code == 200


def test_the_token_guards(b0: Any, client: Client, bundles: Bundles) -> None:
    for headers in (
        {},
        {"Authorization": "Bearer other"},
        {"Authorization": "secret"},
        {"Authorization": "Basic secret"},
    ):
        for path in ("/items", "/score", "/top_k"):
            assert b0.post(path, json={}, headers=headers).status_code == 401
        assert b0.get("/metrics", headers=headers).status_code == 401
        assert b0.get("/readyz", headers=headers).status_code == 200
    assert b0.get("/metrics", headers={"Authorization": "bearer secret"}).status_code == 200
    open_one = client(bundle=bundles.path("b0"))
    assert open_one.post("/items", json={"candidates": NEW}).status_code == 403
    assert open_one.get("/metrics").status_code == 200


def test_they_stay_for_a_bundle_of_the_same_version_alone(client: Client, bundles: Bundles, tmp_path: Path) -> None:
    root = bundles.served(tmp_path)
    (root / "b0").rename(root / "first")
    point_to(root, "first")
    service = client(root=root, token=b"secret", keep=1)
    scorer = service.app_state["service"].scorer
    service.post("/items", json={"candidates": NEW}, headers=HEADERS)
    (root / "again").mkdir()
    for path in (root / "first").rglob("*"):
        target = root / "again" / path.relative_to(root / "first")
        target.mkdir(parents=True, exist_ok=True) if path.is_dir() else target.write_bytes(path.read_bytes())
    point_to(root, "again")
    scorer.refresh()
    assert service.get("/readyz").json()["bundle"] == "again"
    assert score(service, KEYS).status_code == 200
    point_to(root, "b1")
    scorer.refresh()
    assert score(service, KEYS).status_code == 400
    point_to(root, "first")
    scorer.refresh()
    assert score(service, KEYS).status_code == 400  # they were forgotten with their version


def test_workers_share_them(tmp_path: Path) -> None:
    one, other = NewItems(tmp_path, 5), NewItems(tmp_path, 5)
    assert other.of("v") is None
    one.put("v", ["a", "b"], {"x": np.ones((2, 3), np.float32), "length": np.array([3, 3])})
    other.put("v", ["b", "c"], {"x": np.full((2, 2), 2, np.float32), "length": np.array([1, 2])})
    found = one.of("v")
    assert found is not None
    assert found.rows == {"a": 0, "b": 1, "c": 2}
    assert found.arrays["x"].tolist() == [[1, 1, 1], [2, 2, 0], [2, 2, 0]]  # nothing is left of the longer one
    assert found.arrays["length"].tolist() == [3, 1, 2]
    assert found.arrays["length"].dtype == np.int64
    assert one.of("v") is found
    assert one.of("w") is None
