"""Bundles are swapped, kept and refused; and read below one folder alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest

from distill.errors import DataError
from distill.service.generations import Generations
from distill.service.options import Options
from distill.service.scoring import Scorer
from distill.serving import Bundle
from tests.service.conftest import REQUEST, Bundles, Client, another_version, point_to

BODY = {"request": REQUEST, "items": ["i3"], "candidates": {"bid": [1.0]}}


@pytest.fixture
def root(bundles: Bundles, tmp_path: Path) -> Path:
    return bundles.served(tmp_path)


def test_the_named_bundle_is_swapped_in(client: Client, root: Path, bundle: Bundle) -> None:
    service = client(root=root, keep=2)
    refresh = service.app_state["service"].scorer.refresh
    assert service.post("/score", json=BODY).status_code == 503
    assert service.get("/readyz").status_code == 503
    assert service.get("/healthz").status_code == 200
    point_to(root, "b0")
    refresh()
    first = service.post("/score", json=BODY).json()
    assert first["version"] == bundle.version
    point_to(root, "b1")
    refresh()
    second = service.post("/score", json=BODY).json()
    assert second["version"] != first["version"]
    assert second["predictions"]["stars"][0] == pytest.approx(first["predictions"]["stars"][0] + 0.25, abs=1e-5)
    assert service.post("/score", json={**BODY, "version": first["version"]}).json() == first
    assert service.post("/score", json={**BODY, "version": "0" * 32}).status_code == 409
    text = service.get("/metrics").text
    assert "distill_swaps_total 1.0" in text
    assert f'distill_bundle_info{{name="b0",version="{first["version"]}"}} 0.0' in text


def test_a_bundle_without_proof_is_refused_and_the_old_one_goes_on(client: Client, root: Path, bundle: Bundle) -> None:
    point_to(root, "b0")
    service = client(root=root)
    refresh = service.app_state["service"].scorer.refresh
    another_version(root / "b0", root / "liar", more=0.5, proof=0.4)
    point_to(root, "liar")
    refresh()
    refresh()  # it is not tried again
    ready = service.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["bundle"] == "b0"
    assert ready.json()["refused"]["bundle"] == "liar"
    assert "golden requests" in ready.json()["refused"]["problem"]
    assert str(root) not in ready.text
    assert service.post("/score", json=BODY).json()["version"] == bundle.version
    assert "distill_refused_bundles_total 1.0" in service.get("/metrics").text
    point_to(root, "b1")
    refresh()
    assert service.get("/readyz").json()["refused"] is None


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"bundle": 7}', '{"bundle": ""}', '{"bundle": "none"}', "[" * 9999]
)
def test_a_file_that_names_no_bundle_is_refused(root: Path, content: str) -> None:
    point_to(root, "b0")
    found = Generations(root, None, 1)
    found.refresh()
    (root / "current.json").write_text(content)
    found.refresh()
    assert found.refused is not None
    assert found.current is not None


@pytest.mark.parametrize("name", ["../elsewhere", "/etc", "link", "inside", "b\0", "b0/../../elsewhere"])
def test_bundles_are_read_below_the_folder_alone(root: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(root / "b0", tmp_path / "elsewhere")
    (root / "link").symlink_to(tmp_path / "elsewhere")
    shutil.copytree(root / "b0", root / "inside")
    (root / "inside" / "weights.bin").unlink()
    (root / "inside" / "weights.bin").symlink_to(tmp_path / "elsewhere" / "weights.bin")
    point_to(root, name)
    found = Generations(root, None, 1)
    found.refresh()
    assert found.current is None
    assert found.refused is not None
    assert "outside" in found.refused.problem


def test_few_versions_stay_loaded(root: Path) -> None:
    found = Generations(root, None, 2)
    loaded = []
    for name in ("b0", "b1", "b0"):
        point_to(root, name)
        found.refresh()
        assert found.current is not None
        loaded.append(found.current)
    assert loaded[2] is loaded[0]  # kept, and not loaded again
    assert [kept.name for kept in found.kept] == ["b0", "b1"]


def test_the_only_bundle_must_be_right(root: Path, tmp_path: Path) -> None:
    (root / "b0" / "golden.parquet").write_bytes(b"")
    options = Options(bundle=str(root / "b0"))
    with pytest.raises(DataError, match="not the one that was written"):
        Scorer(options, tmp_path).start()


def test_a_request_keeps_the_bundle_that_it_began_with(
    root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    point_to(root, "b0")
    scorer = Scorer(Options(root=str(root)), tmp_path)
    scorer.start()
    score = Bundle.score
    began: Any = scorer.generations.current

    def swapping(bundle: Bundle, *values: Any) -> Any:
        if bundle is began.bundle:
            point_to(root, "b1")
            scorer.refresh()
        return score(bundle, *values)

    monkeypatch.setattr(Bundle, "score", swapping)
    found = orjson.loads(scorer.score(orjson.dumps(BODY)))
    assert found["version"] == began.version
    assert scorer.generations.current is not began
