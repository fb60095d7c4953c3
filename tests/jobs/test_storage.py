"""The quickstart of docs/storage.md with every path in an object store, each command on a machine of its own."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
import torch

from distill.places import retry
from distill.places.manifest import MANIFEST
from distill.places.mirror import local_of
from distill.places.uri import place_of
from distill.serving import Bundle
from distill.training.checkpoint_io import read_checkpoint
from tests.jobs.entry import path_arguments, run_script
from tests.jobs.test_mistakes import message_of
from tests.places.servers import BUCKET, bucket_at, lead_to, proxy, s3_server

pytestmark = pytest.mark.slow
SCHEMA = """
name: shop
layout: requests
keys: {request: visit, user: visitor, item: product, time: hour}
fields:
  - {name: visitor, side: request, kind: id}
  - {name: product, side: candidate, kind: id}
  - {name: price, side: candidate, kind: number}
tasks:
  - {name: click}
"""
STORE = f"s3://{BUCKET}"
PATHS = [f"paths.{name}={STORE}/{name}" for name in ("data", "cache", "runs")]
QUIET = ["trainer=cpu", "trainer.max_epochs=1", "callbacks.progress_bar=false", "cost.enabled=false"]
STUDENT = ["data=prepared", "model=two_tower", "loss=pointwise", "scheduler=constant", *QUIET]
TEACHER = ["teacher=trained", "teacher.max_epochs=1"]


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    with s3_server() as port:
        yield port


@pytest.fixture
def root(server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A log of four days, its schema and catalogue, on this machine and in the store."""
    rng = np.random.default_rng(0)
    for day in range(4):
        rows, visit = 2000, np.repeat(np.arange(200) + day * 200, 10)
        item, price = rng.integers(0, 100, rows), rng.random(rows)
        click = (rng.random(rows) < 1 / (1 + np.exp(-(2 * price - 1 + (item % 7 - 3) / 3)))).astype(np.int8)
        columns = {"visit": visit, "visitor": visit % 50, "hour": visit // 20, "product": item, "price": price}
        (tmp_path / f"logs/day={day}").mkdir(parents=True)
        pq.write_table(pa.table({**columns, "click": click}), tmp_path / f"logs/day={day}/part.parquet")
    (tmp_path / "schema.yaml").write_text(SCHEMA, encoding="utf-8")
    pq.write_table(pa.table({"product": np.arange(100), "price": rng.random(100)}), tmp_path / "items.parquet")
    bucket = bucket_at(server)
    bucket.delete_dir_contents(BUCKET)
    pafs.copy_files(str(tmp_path), BUCKET, pafs.LocalFileSystem(), bucket)
    lead_to(monkeypatch, f"http://127.0.0.1:{server}")
    monkeypatch.setattr(retry, "RETRIES", retry.Retries(attempts=8, first_pause=0.01))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _files(folder: Path) -> dict[str, bytes]:
    own = {"plan.json", "predictions.json", "provenance.json", MANIFEST}  # which name where their files came from
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in own)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


class _Machines:
    """Runs each command with an empty local cache."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.monkeypatch, self.number = root, monkeypatch, 0

    def __call__(self, script: str, *arguments: str) -> None:
        self.number += 1
        self.monkeypatch.setenv("DISTILL_LOCAL", str(self.root / f"machine {self.number}"))
        run_script(script, *arguments)

    def folder(self, name: str) -> Path:
        """What the last command left of a folder of the store."""
        return local_of(place_of(f"{STORE}/{name}", "out"))


@pytest.mark.parametrize("share", [0.0, 0.1], ids=["", "with faults"])
def test_the_quickstart_with_every_path_in_a_store(
    server: int, root: Path, monkeypatch: pytest.MonkeyPatch, share: float, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(0)
    kinds = ("drop", "cut", "503")
    with proxy(server, lambda *_: chance.choice(kinds) if chance.random() < share else None) as between:
        lead_to(monkeypatch, between.endpoint)
        _quickstart(root, _Machines(root, monkeypatch), capsys)
    assert (between.faults > 10) == (share > 0)


def _quickstart(root: Path, on_a_machine: _Machines, capsys: pytest.CaptureFixture[str]) -> None:
    here = path_arguments(root)
    log = ["data=parquet", f"data.source={STORE}/logs", f"data.schema={STORE}/schema.yaml"]
    log += [f"data.items={STORE}/items.parquet"]
    on_a_machine("scripts/prepare.py", *log, f"out={STORE}/prepared", *PATHS)
    run_script("scripts/prepare.py", *[o.replace(STORE, str(root)) for o in log], f"out={root}/prepared", *here)
    assert _files(on_a_machine.folder("prepared")) == _files(root / "prepared")

    on_a_machine("train.py", *STUDENT, *TEACHER, f"data.root={STORE}/prepared", "name=student", *PATHS)
    run_script("train.py", *STUDENT, *TEACHER, f"data.root={root}/prepared", "name=student", *here)
    (run,) = (path for path in on_a_machine.folder("runs/student").iterdir())
    (same,) = (root / "runs/student").iterdir()
    assert _metrics(run) == _metrics(same)
    assert STORE in (run / "config.yaml").read_text(encoding="utf-8")
    assert str(root / "machine") not in (run / "config.yaml").read_text(encoding="utf-8")

    (teacher,) = on_a_machine.folder("cache/models").glob("teacher-*/best.ckpt")
    capsys.readouterr()
    on_a_machine("train.py", *STUDENT, *TEACHER, f"data.root={STORE}/prepared", "name=again", *PATHS)
    assert "taken from the cache" in capsys.readouterr().out

    of_store = f"{STORE}/cache/models/{teacher.parent.name}/best.ckpt"
    dataset, of_machine = f"data.root={STORE}/prepared", f"data.root={root}/prepared"
    on_a_machine(
        "scripts/score.py", "data=prepared", dataset, f"teacher.path={of_store}", f"out={STORE}/signals", *PATHS
    )
    run_script("scripts/score.py", "data=prepared", of_machine, f"teacher.path={teacher}", f"out={root}/signals", *here)
    assert _files(on_a_machine.folder("signals")) == _files(root / "signals")

    path = f"path={STORE}/runs/student/{run.name}"
    on_a_machine("scripts/export.py", path, f"out={STORE}/bundle", f"items={STORE}/items.parquet", *PATHS)
    bundle = Bundle.load(f"{STORE}/bundle")
    assert bundle.items is not None
    assert len(bundle.items) == 100

    on_a_machine("scripts/predict.py", path, f"source='{STORE}/logs/day=*'", f"out={STORE}/predictions", *PATHS)
    run_script("scripts/predict.py", f"path={run}", f"source='{root}/logs/day=*'", f"out={root}/predictions", *here)
    assert _files(on_a_machine.folder("predictions")) == _files(root / "predictions")


def _metrics(run: Path) -> Any:
    return json.loads((run / "summary.json").read_text(encoding="utf-8"))["metrics"]


def test_a_run_goes_on_on_another_machine(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_machine = _Machines(root, monkeypatch)
    here = path_arguments(root)
    data = ["data=parquet", f"data.source={root}/logs", f"data.schema={root}/schema.yaml"]
    run_script("scripts/prepare.py", *data, f"out={root}/prepared", *here)
    on_a_machine("scripts/publish.py", f"{root}/prepared", f"{STORE}/prepared")
    alone = [*STUDENT, "loss=hard"]
    arguments = [*alone, f"data.root={STORE}/prepared", "name=run", *PATHS]
    sizes = {path: path.stat().st_size for path in (root / "prepared").rglob("*") if path.is_file()}
    parts = [sizes[path] for path in sizes if path.name.startswith("part-")]
    limit = sum(sizes.values()) - sum(parts) + max(parts)  # room for one part at a time
    monkeypatch.setenv("DISTILL_LOCAL_BYTES", str(limit))
    on_a_machine("train.py", *arguments)
    fetched = on_a_machine.folder("prepared").rglob("part-*")
    assert 0 < sum(path.stat().st_size for path in fetched) <= max(parts) < sum(parts)
    monkeypatch.delenv("DISTILL_LOCAL_BYTES")
    on_a_machine("train.py", *arguments, "resume=last", "trainer.max_epochs=2")
    (run,) = on_a_machine.folder("runs/run").iterdir()
    run_script("train.py", *alone, f"data.root={root}/prepared", "name=run", "trainer.max_epochs=2", *here)
    (same,) = (root / "runs/run").iterdir()
    states = [read_checkpoint(one / "checkpoints/last.ckpt")["state_dict"] for one in (run, same)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_what_a_store_holds_is_not_overwritten_and_its_errors_name_it(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DISTILL_LOCAL", str(root / "machine"))
    arguments = ["data=parquet", f"data.schema={STORE}/schema.yaml", *path_arguments(root)]

    def refused(*more: str) -> str:
        return message_of(capsys, "scripts/prepare.py", *arguments, *more)

    assert f"{STORE}/logs" in refused(f"data.source={STORE}/logs", f"out={STORE}/logs")
    assert f"{STORE}/nothing" in refused(f"data.source={STORE}/nothing", f"out={STORE}/out")
    assert "data.source" in refused("data.source=ftp://host/logs", f"out={STORE}/out")
    monkeypatch.setenv("DISTILL_LOCAL", str(root / "another machine"))
    monkeypatch.setenv("DISTILL_LOCAL_BYTES", "1000")
    assert "DISTILL_LOCAL_BYTES" in refused(f"data.source={STORE}/logs", f"out={STORE}/out")
    assert not (root / "s3:").exists()
    assert not Path("s3:").exists()
