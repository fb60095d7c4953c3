"""Commands on Ray write the files that they write in one process, bit for bit, also after workers were killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines.dying import kill_workers
from tests.jobs.entry import path_arguments, run_script
from tests.jobs.test_predict import MANY, SMALL, best, of_day, root  # noqa: F401

pytestmark = pytest.mark.slow
pytest.importorskip("ray")

WORKERS = [1, 2]
LOCAL = ["threads=1"]


def on_ray(workers: int) -> list[str]:
    return ["engine=ray", f"ray.workers={workers}", "ray.object_store_bytes=104857600", "threads=1"]


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def predict(root: Path, shape: str, out: Path, *arguments: str) -> dict[str, bytes]:  # noqa: F811
    run_script("scripts/predict.py", "trainer=cpu", f"path={best(root)}", f"source={root / shape}.parquet",
               f"out={out}", *path_arguments(root), *MANY, "keep=[ts]", *arguments)  # fmt: skip
    return files(out)


@pytest.mark.parametrize("shape", ["requests", "pairs", "scattered"])
def test_predictions(root: Path, shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    wanted = predict(root, shape, tmp_path / "local", *LOCAL)
    assert len(wanted) > 3 or shape == "scattered"
    for workers in WORKERS:
        assert predict(root, shape, tmp_path / f"by{workers}", *on_ray(workers)) == wanted
    kill_workers(monkeypatch, tmp_path / "killed")
    assert predict(root, shape, tmp_path / "killed-ones", *on_ray(2)) == wanted
    assert list((tmp_path / "killed").iterdir())


def score(root: Path, out: Path, *arguments: str) -> dict[str, bytes]:  # noqa: F811
    run_script("scripts/score.py", "data=prepared", f"data.root={root / 'day1'}", f"teacher.path={best(root)}",
               "trainer=cpu", f"out={out}", *path_arguments(root), *arguments)  # fmt: skip
    return files(out)


def test_signals(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    for name, options in (("plain", []), ("reduced", ["hidden=[candidate]", "hidden_width=3"])):
        wanted = score(root, tmp_path / name, *options, *LOCAL)
        for workers in WORKERS:
            assert score(root, tmp_path / f"{name}{workers}", *options, *on_ray(workers)) == wanted
    kill_workers(monkeypatch, tmp_path / "killed")
    assert score(root, tmp_path / "killed-ones", *on_ray(2)) == score(root, tmp_path / "again", *LOCAL)
    assert list((tmp_path / "killed").iterdir())


def prepare(root: Path, out: Path, *arguments: str) -> dict[str, bytes]:  # noqa: F811
    run_script("scripts/prepare.py", "data=parquet", f"data.schema={root / 'schema.yaml'}",
               f"data.source={root / 'days'}", f"out={out}", *path_arguments(root), *arguments)  # fmt: skip
    return {name: content for name, content in files(out).items() if not name.startswith(".")}


@pytest.mark.parametrize("split", ["random", "time", "user_time"])
def test_prepared_data(root: Path, split: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    rule = f"split@data.adapter.split={split}"
    wanted = prepare(root, tmp_path / "local", rule)
    assert "manifest.json" in wanted
    for workers in WORKERS:
        assert prepare(root, tmp_path / f"by{workers}", rule, *on_ray(workers)[:3]) == wanted
    kill_workers(monkeypatch, tmp_path / "killed")
    assert prepare(root, tmp_path / "killed-ones", rule, *on_ray(2)[:3]) == wanted
    assert list((tmp_path / "killed").iterdir())
