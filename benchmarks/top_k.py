"""How long the best candidates of many requests take on a device, in one program, against a bundle and NumPy."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from omegaconf import DictConfig

from benchmarks.bundle import random_model
from benchmarks.data import RequestBenchmark
from benchmarks.rows import BenchmarkRow
from benchmarks.serving import catalogue_of
from distill.data.build import build_dataset
from distill.data.format import Dataset
from distill.data.prepare.progress import PassProgress
from distill.device import DeviceTopK
from distill.export import BundleOptions, TopKOptions
from distill.files import raw_sibling, remove_leftovers
from distill.jobs.export import ItemOptions, export_bundle
from distill.jobs.targets import Part
from distill.lock import locked
from distill.schema import Side

Requests = tuple[dict[str, list[Any]], list[list[int]]]


@dataclass(frozen=True)
class TopKBenchmark(Part):
    """Finds the best candidates of raw requests of 13 ids and a sequence of 50, by key.

    Attributes:
        models: Names of `conf/model`, with random weights.
        items: Of the catalogue.
        candidates: Of a request.
        k: How many are the best.
        batches: Requests at a time; several sizes.
        turns: How often each is timed.
        device: `cpu` (on one thread) or `cuda`.
        compiled: Whether the program is compiled by AOTInductor too.
    """

    models: Sequence[str]
    items: int
    candidates: int
    k: int
    batches: Sequence[int]
    turns: int
    device: str
    compiled: bool

    def run(self, paths: DictConfig) -> list[BenchmarkRow]:
        """Measures one model after the other."""
        root = Path(paths.data)
        source = RequestBenchmark(2_000, items=self.items)
        dataset = build_dataset(source, root)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with locked(root / ".serving.lock"):
                remove_leftovers(root / "serving")
                with raw_sibling(root / "serving") as folder:
                    raw = pq.read_table(source.write_raw(folder / "raw").files[0])
                    return [row for name in self.models for row in self._of_model(name, dataset, raw)]
        finally:
            torch.set_num_threads(threads)

    def _of_model(self, name: str, dataset: Dataset, raw: Any) -> list[BenchmarkRow]:
        trained = random_model(name, dataset)
        with tempfile.TemporaryDirectory() as scratch, PassProgress(False) as bars:
            catalogue = Path(scratch) / "items.parquet"
            pq.write_table(catalogue_of(trained, self.items), catalogue)
            items = ItemOptions(str(catalogue), torch.device("cpu"))
            compile_for = (self.device,) if self.compiled else ()
            options = BundleOptions(False, compile_for, TopKOptions(self.k))
            export_bundle(trained, Path(scratch) / "bundle", options, items, bars)
            found = DeviceTopK.load(Path(scratch) / "bundle", self.device, trusted=True)
            ways = {"the program": found}
            if self.compiled:
                ways["compiled"] = DeviceTopK.load(Path(scratch) / "bundle", self.device, compiled=True, trusted=True)
            rows = [row for size in self.batches for row in self._rows(name, size, ways, raw)]
            size = (found.bundle.root / found.program.file).stat().st_size
        rows.append(BenchmarkRow(f"{name}/program", size, "bytes"))
        return [*rows, BenchmarkRow(f"{name}/items on the device", found.item_bytes, "bytes")]

    def _rows(self, name: str, size: int, ways: dict[str, DeviceTopK], raw: Any) -> list[BenchmarkRow]:
        found = ways["the program"]
        names = dict.fromkeys(f.column for f in found.bundle.schema.side(Side.REQUEST))
        rng = np.random.default_rng(0)
        drawn: list[Requests] = [
            (
                {n: raw[n].take(rng.integers(0, len(raw), size)).to_pylist() for n in names},
                rng.integers(0, self.items, (size, self.candidates)).tolist(),
            )
            for _ in range(self.turns)
        ]
        calls: dict[str, Callable[[Requests], Any]] = {"bundle": lambda r: self._by_bundle(found, *r)}
        calls |= {way: lambda r, own=own: own.top_k(*r) for way, own in ways.items()}  # type: ignore[misc]
        calls |= {f"{way}, alone": self._alone(own, drawn[0]) for way, own in ways.items()}
        times: dict[str, list[float]] = {way: [] for way in calls}
        for turn, requests in enumerate([drawn[0], *drawn]):
            for way, call in calls.items():
                start = time.perf_counter()
                call(requests)
                if turn:  # the first finds nothing in caches
                    times[way].append(1000 * (time.perf_counter() - start) / size)
        medians = {way: float(np.median(taken)) for way, taken in times.items()}
        title = f"{name}/{size} requests of {self.candidates}"
        return [
            BenchmarkRow(f"{title}/{way}, a request", median, "ms", median / medians["bundle"], "bundle")
            for way, median in medians.items()
        ]

    def _by_bundle(self, found: DeviceTopK, requests: dict[str, list[Any]], items: list[list[int]]) -> list[list[int]]:
        flat = [key for keys in items for key in keys]
        scores = found.bundle.score_batch(requests, None, [len(keys) for keys in items], flat).ranking_score
        orders = np.argsort(-scores.reshape(len(items), -1), axis=1, kind="stable")[:, : self.k].tolist()
        return [[own[place] for place in order] for own, order in zip(items, orders, strict=True)]

    def _alone(self, found: DeviceTopK, requests: Requests) -> Callable[[Requests], Any]:
        """Encoded tensors in, tensors on the host out."""
        columns, items = requests
        inputs = found.encode(columns, items)
        return lambda _: found.run(inputs)
