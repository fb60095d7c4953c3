"""What a model says on Ray is what it says in one process, bit for bit, also after workers were killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.jobs.entry import path_arguments, run_script
from tests.jobs.ray_runs import WORKERS, Files, OnRay, files, running
from tests.jobs.test_predict import MANY, best, root  # noqa: F401

pytestmark = pytest.mark.slow
pytest.importorskip("ray")
_LOCAL: dict[str, Files] = {}


@pytest.fixture(scope="module", params=WORKERS)
def on_ray(request: pytest.FixtureRequest) -> Iterator[OnRay]:
    with running(request.param, _LOCAL) as found:
        yield found


@pytest.mark.parametrize("shape", ["requests", "pairs", "scattered"])
def test_predictions(
    root: Path, on_ray: OnRay, shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    def make(out: Path, *arguments: str) -> Files:
        run_script("scripts/predict.py", "trainer=cpu", f"path={best(root)}", f"source={root / shape}.parquet",
                   f"out={out}", "threads=1", *path_arguments(root), *MANY, "keep=[ts]", *arguments)  # fmt: skip
        return files(out)

    assert len(on_ray.check(shape, tmp_path, make, monkeypatch)) > 3 or shape == "scattered"


@pytest.mark.parametrize("hidden", [[], ["hidden=[candidate]", "hidden_width=3"]], ids=["plain", "reduced"])
def test_signals(
    root: Path, on_ray: OnRay, hidden: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    def make(out: Path, *arguments: str) -> Files:
        run_script("scripts/score.py", "data=prepared", f"data.root={root / 'day1'}", f"teacher.path={best(root)}",
                   "trainer=cpu", f"out={out}", "threads=1", *path_arguments(root), *hidden, *arguments)  # fmt: skip
        return files(out)

    on_ray.check(f"signals {hidden}", tmp_path, make, monkeypatch)


def test_item_vectors(root: Path, on_ray: OnRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    log = pq.read_table(root / "days" / "1.parquet")
    raw = pa.table({name: pc.list_flatten(log[name]) for name in ("item", "brand", "price", "age")})
    firsts = raw.group_by("item", use_threads=False).aggregate([(n, "first") for n in ("brand", "price", "age")])
    pq.write_table(firsts.rename_columns(["item", "brand", "price", "age"]), root / "items.parquet")

    def make(out: Path, *arguments: str) -> Files:
        run_script("scripts/export.py", "trainer=cpu", f"path={best(root)}", "what=items", f"out={out}", "threads=1",
                   f"items={root / 'items.parquet'}", *path_arguments(root), *arguments)  # fmt: skip
        return files(out)

    assert "items.json" in on_ray.check("items", tmp_path, make, monkeypatch)
