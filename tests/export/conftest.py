"""A prepared log of every kind of field, a new day that is prepared with its encodings, and models of both."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
import yaml

import distill
from distill.batch import Batch
from distill.data.dataset import load_dataset
from distill.data.format import Dataset, Split
from distill.data.stream import iterate_part
from distill.encodings import PackedEncodings
from distill.export import BundleOptions, Trained, write_bundle
from distill.models.prerankers.base import PreRanker
from distill.models.prerankers.fitted import FittedPreRanker
from distill.schema import Schema, Side
from distill.serving import Bundle
from tests.export.raw import SCHEMA, draw_log
from tests.jobs.entry import path_arguments
from tests.models.composing import build

WHOLE = "split@data.adapter.split=whole"


@dataclass(frozen=True)
class Log:
    """The log.

    Attributes:
        root: Folder with `new.parquet`.
        dataset: Of the first day.
        new: The new day, with the encodings of the first.
    """

    root: Path
    dataset: Dataset
    new: Dataset

    def trained(self, name: str, *overrides: str) -> Trained:
        """Builds a model of `conf/model` with weights that are not those of a beginning."""
        full = self.dataset.schema
        model = build(name, full, *overrides)
        schema = full
        if isinstance(model, PreRanker):
            schema = full.serving_view()
            model = build(name, schema, *overrides)
        if isinstance(model, FittedPreRanker):
            model.fit(self.batches(self.dataset, "train", schema))
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        saved = self.dataset.manifest.encodings.of(schema.fields)
        return Trained(model.eval(), schema, PackedEncodings.read(self.dataset.root, saved))

    def batches(self, dataset: Dataset, split: Split, schema: Schema) -> list[Batch]:
        """The rows of a split in the order of the raw rows, as a model of a schema reads them."""
        numbers = range(len(dataset.parts(split)))
        return [batch for number in numbers for batch in iterate_part(dataset, split, number, schema, 64)]

    @torch.no_grad()
    def expected(self, trained: Trained) -> np.ndarray:
        """What a model says of the new day as it was prepared `[N, K]`."""
        batches = self.batches(self.new, "test", trained.schema)
        return torch.cat([trained.model(batch).logits for batch in batches]).numpy()

    @torch.no_grad()
    def rounding(self, trained: Trained) -> float:
        """How far the model itself is from its own scores in double precision: what float32 loses on this data."""
        exact = copy.deepcopy(trained.model).double()
        batches = self.batches(self.new, "test", trained.schema)
        doubles = [batch.map(lambda t: t.double() if t.is_floating_point() else t) for batch in batches]
        scores = torch.cat([exact(batch).logits for batch in doubles])
        return float((torch.from_numpy(self.expected(trained)) - scores).abs().max())

    def raw(self) -> tuple[dict[str, pa.Array], dict[str, pa.Array], np.ndarray]:
        """The new day in raw columns: of the requests, of the candidates, and candidates of each request."""
        table = pq.read_table(self.root / "new.parquet").combine_chunks()
        counts = pc.list_value_length(table["item"]).to_numpy()
        names = [f["column"] if "column" in f else f["name"] for f in SCHEMA["fields"] if f["side"] != "request"]
        of_request = {f.column for f in self.dataset.schema.side(Side.REQUEST)}
        request = {name: table[name] for name in of_request}
        return request, {name: pc.list_flatten(table[name]) for name in (*names, "bid")}, counts


@pytest.fixture(scope="session")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    return write_log(tmp_path_factory.mktemp("kinds"))


def write_log(root: Path, *more: dict[str, Any]) -> Log:
    """Writes and prepares both days, with more fields."""
    root.mkdir(exist_ok=True)
    schema = {**SCHEMA, "fields": [*SCHEMA["fields"], *more]}
    (root / "schema.yaml").write_text(yaml.safe_dump(schema))
    pq.write_table(draw_log(0), root / "first.parquet")
    pq.write_table(draw_log(1, new=True), root / "new.parquet")
    return Log(
        root,
        prepared(root, "first", "split@data.adapter.split=random"),
        prepared(root, "new", WHOLE, f"encodings={root / 'first'}"),
    )


def prepared(root: Path, name: str, *arguments: str) -> Dataset:
    """Prepares a day of the log."""
    distill.prepare(
        [
            "data=parquet",
            f"data.source={root / f'{name}.parquet'}",
            f"data.schema={root / 'schema.yaml'}",
            f"out={root / name}",
            *path_arguments(root),
            *arguments,
        ]
    )
    return load_dataset(root / name)


@pytest.fixture(scope="session")
def two_tower(log: Log) -> Trained:
    return log.trained("two_tower")


@pytest.fixture(scope="session")
def two_tower_bundle(two_tower: Trained, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(two_tower, tmp_path_factory.mktemp("two_tower") / "b", BundleOptions(exported=False))
