"""Preparation on Ray writes the files that one process writes, bit for bit, also after workers were killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from distill.errors import DataError
from tests.jobs.days import SCHEMA, write_days
from tests.jobs.entry import path_arguments, run_script
from tests.jobs.ray_runs import WORKERS, Files, OnRay, files, running

pytestmark = pytest.mark.slow
pytest.importorskip("ray")
_LOCAL: dict[str, Files] = {}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("prepare")
    write_days(root, range(1, 4))
    return root


@pytest.fixture(scope="module", params=WORKERS)
def on_ray(request: pytest.FixtureRequest) -> Iterator[OnRay]:
    with running(request.param, _LOCAL) as found:
        yield found


def prepare(root: Path, rule: str, out: Path, *arguments: str) -> Files:
    own = {"data.source": root / "days", "data.schema": root / "schema.yaml"}
    own |= dict(argument.split("=", 1) for argument in arguments)
    run_script("scripts/prepare.py", "data=parquet", f"split@data.adapter.split={rule}", f"out={out}",
               *path_arguments(root), *(f"{key}={value}" for key, value in own.items()))  # fmt: skip
    return files(out)


@pytest.mark.parametrize("rule", ["random", "time", "user_time"])
def test_splits(root: Path, rule: str, on_ray: OnRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(out: Path, *arguments: str) -> Files:
        return prepare(root, rule, out, *arguments)

    assert "manifest.json" in on_ray.check(rule, tmp_path, make, monkeypatch)


def test_events(root: Path, on_ray: OnRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = {"by": ["user", "item"], "within": 5}
    (root / "events.yaml").write_text(yaml.safe_dump({**SCHEMA, "tasks": [{"name": "click", "events": events}]}))
    log = pq.read_table(root / "days" / "1.parquet")
    clicks = pa.table({"user": log["user"], "item": pc.list_element(log["item"], 0), "ts": log["ts"]})
    pq.write_table(clicks, root / "clicks.parquet")

    def make(out: Path, *arguments: str) -> Files:
        own = (f"data.schema={root / 'events.yaml'}", f"data.events={{click: {root / 'clicks.parquet'}}}")
        return prepare(root, "random", out, *own, *arguments)

    assert b'"events_attributed/click": 60' in on_ray.check("events", tmp_path, make, monkeypatch)["manifest.json"]


def test_an_error_in_the_data_is_that_of_one_process(root: Path, on_ray: OnRay, tmp_path: Path) -> None:
    """The second of two files has no key in a row."""
    log = pq.read_table(root / "days" / "1.parquet")
    keys = [None if row == 3 else key for row, key in enumerate(log["search"].to_pylist())]
    (tmp_path / "raw").mkdir()
    pq.write_table(pq.read_table(root / "days" / "2.parquet"), tmp_path / "raw" / "a.parquet")
    pq.write_table(log.set_column(0, "search", pa.array(keys)), tmp_path / "raw" / "b.parquet")
    texts = []
    for name, arguments in (("local", []), ("on-ray", on_ray.arguments)):
        with pytest.raises((DataError, SystemExit)) as raised:
            prepare(root, "random", tmp_path / name, f"data.source={tmp_path / 'raw'}", *arguments)
        texts.append(str(raised.value))
        assert not (tmp_path / name).exists()
    assert texts[0] == texts[1]
