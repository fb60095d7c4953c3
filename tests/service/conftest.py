"""Bundles of three models that differ in their weights, with a catalogue, and services of them."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from starlette.testclient import TestClient

from distill.data.prepare.progress import PassProgress
from distill.export import BundleOptions
from distill.jobs.export import ItemOptions, export_bundle
from distill.schema import Schema
from distill.sealed import write_sealed
from distill.service.app import Service, create_app
from distill.service.gate import Gate
from distill.service.options import Options
from distill.serving import Bundle
from distill.serving.items import read_items_manifest
from distill.serving.manifest import GOLDEN, ITEMS, hash_files, read_manifest
from distill.serving.proof import RANKING_SCORE, SCORES
from distill.serving.scores import ranking_score
from tests.export.conftest import Log, log  # noqa: F401, a fixture
from tests.export.raw import catalogue

REQUEST: dict[str, Any] = {
    "user": 3,
    "city": 2,
    "past": ["i1", "i2"],
    "words": ["w1"],
    "taste": [0.1, 0.2, 0.3],
    "age": 41.0,
}


@dataclass(frozen=True)
class Bundles:
    """Folders of bundles: `b0` is a two-tower with stored vectors of `i0` … `i49`, `b1` another version of it.

    Attributes:
        root: Folder of all.
    """

    root: Path

    def path(self, name: str) -> Path:
        return self.root / name

    def served(self, folder: Path) -> Path:
        """Copies all to a folder of a test's own."""
        return Path(shutil.copytree(self.root, folder / "bundles"))


@pytest.fixture(scope="session")
def bundles(log: Log, tmp_path_factory: pytest.TempPathFactory) -> Bundles:  # noqa: F811
    root = tmp_path_factory.mktemp("served")
    pq.write_table(catalogue(), root / "items.parquet")
    with PassProgress(False) as bars:
        items = ItemOptions(str(root / "items.parquet"), torch.device("cpu"))
        export_bundle(log.trained("two_tower"), root / "b0", BundleOptions(exported=False), items, bars)
    (root / "items.parquet").unlink()
    another_version(root / "b0", root / "b1", 0.25)
    return Bundles(root)


@pytest.fixture(scope="session")
def whole(log: Log, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """A bundle of a model that reads request and item together, with features of the same catalogue."""
    folder = tmp_path_factory.mktemp("whole")
    pq.write_table(catalogue(), folder / "items.parquet")
    with PassProgress(False) as bars:
        items = ItemOptions(str(folder / "items.parquet"), torch.device("cpu"))
        export_bundle(log.trained("cold"), folder / "bundle", BundleOptions(exported=False), items, bars)
    return folder / "bundle"


def another_version(bundle: Path, to: Path, more: float, proof: float | None = None) -> None:
    """Copies a bundle with a bias that is larger by `more`; its golden logits by `proof`, if that is another number."""
    shutil.copytree(bundle, to)
    schema = read_manifest(to).schema_of(to)
    table = pq.read_table(to / GOLDEN)
    added = more if proof is None else proof
    scores = [[_moved(row, added, schema) for row in rows] for rows in table[SCORES].to_pylist()]
    column = pa.array(scores, table[SCORES].type)
    pq.write_table(table.set_column(table.column_names.index(SCORES), SCORES, column), to / GOLDEN)
    manifest = read_manifest(to)
    assert manifest.interaction is not None
    bias = tuple(value + more for value in manifest.interaction.bias)
    changed = {
        "version": hashlib.blake2b(f"{manifest.version} {more}".encode(), digest_size=16).hexdigest(),
        "interaction": manifest.interaction.model_copy(update={"bias": bias}),
        "files": {**manifest.files, **hash_files(to, [GOLDEN])},
    }
    manifest.model_copy(update=changed).write(to)
    read_items_manifest(to / ITEMS).model_copy(update={"version": changed["version"]}).write(to / ITEMS)


def _moved(row: dict[str, float], added: float, schema: Schema) -> dict[str, float]:
    """Golden scores of a candidate whose logits are larger by `added`: the columns of the ranking score stay."""
    before = np.array([[row[task] for task in schema.task_names]], np.float32)
    ones = dict.fromkeys(schema.score.columns, np.ones(1, np.float32))
    change = ranking_score(schema, before + added, ones) - ranking_score(schema, before, ones)
    moved = {task: row[task] + added for task in schema.task_names}
    return {**moved, RANKING_SCORE: row[RANKING_SCORE] + float(change[0])}


@pytest.fixture(scope="session")
def bundle(bundles: Bundles) -> Bundle:
    return Bundle.load(bundles.path("b0"))


Client = Callable[..., TestClient]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """Starts services in this process: `client(bundle=…, token=…, …)`."""
    with ExitStack() as stack:

        def start(token: bytes | None = None, **options: Any) -> TestClient:
            given = {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
            folder = tmp_path / f"state{len(os.listdir(tmp_path))}"  # noqa: PTH208
            folder.mkdir()
            service = Service(Options(**given).checked(), folder, token)
            service.scorer.start()
            found = TestClient(create_app(service), raise_server_exceptions=False)
            found.app_state["service"] = service
            return stack.enter_context(found)

        yield start


def point_to(root: Path, name: str) -> None:
    """Names the bundle that is to be served."""
    temporary = root / ".current.json"
    write_sealed(temporary, {"bundle": name})
    temporary.replace(root / "current.json")


@pytest.fixture
def gate(bundles: Bundles, tmp_path: Path) -> Callable[..., Gate]:
    def make(**options: Any) -> Gate:
        service = Service(Options(bundle=str(bundles.root / "b0"), **options), tmp_path, None)
        service.scorer.start()
        return create_app(service)

    return make
