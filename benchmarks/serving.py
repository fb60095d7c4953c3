"""How long a raw request takes in a bundle, part by part, against eager PyTorch and an exact FAISS search."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from omegaconf import DictConfig

from benchmarks.bundle import random_model
from benchmarks.data import RequestBenchmark
from benchmarks.peers import rechub_request
from benchmarks.rows import BenchmarkRow
from distill.data.build import build_dataset
from distill.data.format import Dataset
from distill.data.prepare.progress import PassProgress
from distill.export import BundleOptions, Trained, write_bundle
from distill.export.catalogue import Catalogue
from distill.export.golden import RawRequests, score_requests
from distill.export.item_features import write_features
from distill.export.item_vectors import write_items
from distill.files import raw_sibling, remove_leftovers
from distill.jobs.targets import Part
from distill.lock import locked
from distill.models.prerankers.base import SplitPreRanker
from distill.schema import Side
from distill.serving import Bundle, ItemVectors
from distill.serving.index import faiss
from distill.serving.inputs import REQUEST_INDEX, ids_of, numbers_of
from distill.serving.item_features import ItemFeatures
from distill.serving.items import ItemType

_REQUESTS = 50
_RUN, _WARM = 50, 5
_BATCH = 64
_CROSS = 4
_BEST = 200
_TARGETS = {"two_tower": "≤ 0.30", "three_tower": "≤ 1.5", "cold": "≤ 3"}  # milliseconds of 1,000 candidates


@dataclass(frozen=True)
class ServingBenchmark(Part):
    """Scores raw requests of 13 ids and a sequence of 50 by keys of candidates, on one thread.

    A model that reads fields of the pair gets 4 numbers for each candidate with the request.

    Attributes:
        models: Names of `conf/model`, with random weights.
        items: Of the catalogue, whose vectors are stored.
        candidates: Of a request; several sizes.
        turns: How often a request is timed.
    """

    models: Sequence[str]
    items: int
    candidates: Sequence[int]
    turns: int

    def run(self, paths: DictConfig) -> list[BenchmarkRow]:
        """Measures one model after the other."""
        root = Path(paths.data)
        source = RequestBenchmark(2_000, items=self.items, cross=_CROSS)
        dataset = build_dataset(source, root)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with locked(root / ".serving.lock"):
                remove_leftovers(root / "serving")
                with raw_sibling(root / "serving") as folder:
                    raw = pq.read_table(source.write_raw(folder / "raw").files[0])
                    return [row for name in self.models for row in self._of_forms(name, dataset, raw)]
        finally:
            torch.set_num_threads(threads)

    def _of_forms(self, name: str, dataset: Dataset, raw: pa.Table) -> list[BenchmarkRow]:
        """Measures a model, and also as one program if it is taken apart to be served."""
        whole = random_model(name, dataset)
        parts = whole.in_parts()
        forms = {name: parts} if parts is whole else {name: parts, f"{name}, in_parts=false": whole}
        return [row for title, trained in forms.items() for row in self._of_model(title, trained, raw)]

    def _of_model(self, name: str, trained: Trained, raw: pa.Table) -> list[BenchmarkRow]:
        with tempfile.TemporaryDirectory() as scratch:
            bundle = write_bundle(trained, Path(scratch) / "bundle", BundleOptions(exported=False))
            catalogue = catalogue_of(trained, self.items)
            case = _Case(name, trained, bundle, catalogue, raw, self.turns)
            if isinstance(trained.model, SplitPreRanker):
                case.stores = {kind: _stored(case, Path(scratch), kind) for kind in ("float32", "int8")}
            else:
                case.features = _features(case, Path(scratch))
            return case.rows(self.candidates)


@dataclass(frozen=True)
class _Asked:
    """Requests, the keys of the candidates of each, and the columns of the pair of any, if there are some."""

    requests: list[dict[str, Any]]
    keys: list[list[int]]
    pair: dict[str, Any] | None


@dataclass
class _Case:
    """A model, and requests of it."""

    name: str
    trained: Trained
    bundle: Bundle
    catalogue: pa.Table
    raw: pa.Table
    turns: int
    stores: dict[str, ItemVectors] | None = None
    features: ItemFeatures | None = None

    def rows(self, sizes: Sequence[int]) -> list[BenchmarkRow]:
        names = list(dict.fromkeys(f.column for f in self.bundle.schema.side(Side.REQUEST)))
        requests = [{n: self.raw[n][row].as_py() for n in names} for row in range(_REQUESTS)]
        rng = np.random.default_rng(0)
        found = []
        for size in sizes:
            keys = [rng.integers(0, len(self.catalogue), size).tolist() for _ in range(_REQUESTS)]
            asked = _Asked(requests, keys, self._pair(size, rng))
            found += self._measured(
                size, self._by_vectors(asked) if self.stores is not None else self._by_features(asked)
            )
        return found

    def _pair(self, size: int, rng: np.random.Generator) -> dict[str, Any] | None:
        """Columns of the pair, of a model that reads such."""
        fields = self.bundle.schema.side(Side.CROSS) if Side.CROSS in self.bundle.manifest.sides else ()
        return {f.column: rng.normal(size=size).astype(np.float32) for f in fields} or None

    def _measured(self, size: int, ways: dict[str, Callable[[int], Any]]) -> list[BenchmarkRow]:
        """Times the ways in turn, each for a run of requests as a thread that serves does; its first ones are left
        out, as they find the caches full of the way before."""
        times: dict[str, list[float]] = {way: [] for way in ways}
        for begin in range(0, self.turns, _RUN):
            for way, call in ways.items():
                for turn in range(-_WARM, min(_RUN, self.turns - begin)):
                    start = time.perf_counter()
                    call((begin + turn) % _REQUESTS)
                    if turn >= 0:
                        times[way].append(1000 * (time.perf_counter() - start))
        whole = float(np.median(times["raw request to scores"]))
        rows = []
        for way, taken in times.items():
            median, tail = np.percentile(taken, [50, 99])
            title = f"{self.name}/{size}/{way}"
            target = _TARGETS.get(self.name) if size == 1000 and way == "raw request to scores" else None
            rows.append(BenchmarkRow(f"{title}, p50", float(median), "ms", float(median) / whole, "whole", target))
            rows.append(BenchmarkRow(f"{title}, p99", float(tail), "ms"))
        return rows

    def _by_vectors(self, asked: _Asked) -> dict[str, Callable[[int], Any]]:
        assert self.stores is not None
        exact, small = (self.bundle.with_items(self.stores[kind]) for kind in ("float32", "int8"))
        vectors, requests, keys, pair = self.stores["float32"], asked.requests, asked.keys, asked.pair
        inputs = {**exact.encoder.row(requests[0]), **vectors.inputs(keys[0]), **self._of_pair(pair, len(keys[0]))}
        ways: dict[str, Callable[[int], Any]] = {
            "raw request to scores": lambda i: exact.score(requests[i], pair, keys[i]),
            "encoding the request": lambda i: exact.encoder.row(requests[i]),
            "request tower": lambda i: exact.encode_request(requests[i]),
            "fetching item vectors": lambda i: vectors.of(keys[i]),
            "tower and interaction": lambda i: exact.logits(inputs),
            "with vectors of int8": lambda i: small.score(requests[i], pair, keys[i]),
            f"batch of {_BATCH}": self._batch(exact, asked),
            "encoding and eager PyTorch": self._eager(asked),
        }
        if len(vectors.shape) == 2:  # compared by dot products
            ways[f"exact search for {_BEST} of all items (FAISS)"] = self._search(exact, requests[0])
            encoded, places = [exact.encoder.row(request) for request in requests], list(map(vectors.positions, keys))
            all_vectors = vectors.take(np.arange(len(vectors)))[:, 0]
            peer = rechub_request(self.trained.schema, encoded, all_vectors, places, exact.root / "rechub.onnx")
            if peer is not None:
                ways["torch-rechub: its tower and dot products, ids encoded and items placed before"] = peer
        return ways

    def _by_features(self, asked: _Asked) -> dict[str, Callable[[int], Any]]:
        assert self.features is not None
        features, stored = self.features, self.bundle.with_items(self.features)
        requests, keys, pair = asked.requests, asked.keys, asked.pair
        inputs = {**stored.encoder.row(requests[0]), **features.inputs(keys[0]), **self._of_pair(pair, len(keys[0]))}
        whole = [
            {**self.catalogue.take(pa.array(row)).to_pydict(), **{n: v.tolist() for n, v in (pair or {}).items()}}
            for row in keys[:4]
        ]
        tables = [pa.table(columns) for columns in whole]
        return {
            "raw request to scores": lambda i: stored.score(requests[i], pair, keys[i]),
            "encoding the request": lambda i: stored.encoder.row(requests[i]),
            "fetching item features": lambda i: features.inputs(keys[i]),
            "the program": lambda i: stored.logits(inputs),
            f"batch of {_BATCH}": self._batch(stored, asked),
            "from the raw columns of the candidates": lambda i: self.bundle.score(requests[i], tables[i % len(tables)]),
            "encoding and eager PyTorch": self._eager(asked),
        }

    def _of_pair(self, pair: dict[str, Any] | None, size: int) -> dict[str, Any]:
        """What programs are fed of the pair."""
        numbers = np.zeros((size, 0), np.float32) if pair is None else np.stack(list(pair.values()), axis=1)
        none = np.zeros((size, 0), np.int64)
        return {REQUEST_INDEX: np.zeros(size, np.int64), ids_of(Side.CROSS): none, numbers_of(Side.CROSS): numbers}

    def _batch(self, bundle: Bundle, asked: _Asked) -> Callable[[int], Any]:
        requests, keys = (asked.requests * 2)[:_BATCH], (asked.keys * 2)[:_BATCH]
        many = {name: [request[name] for request in requests] for name in requests[0]}
        pair = None if asked.pair is None else {name: np.tile(values, _BATCH) for name, values in asked.pair.items()}
        all_keys, counts = [key for row in keys for key in row], [len(keys[0])] * _BATCH
        return lambda _: bundle.score_batch(many, pair, counts, all_keys)

    def _eager(self, asked: _Asked) -> Callable[[int], Any]:
        """All columns encoded in each request, and the module as it was trained."""
        schema = self.trained.schema
        cross = {f.column: pa.array((asked.pair or {}).get(f.column, np.zeros(len(asked.keys[0]), np.float32)))
                 for f in schema.side(Side.CROSS)}  # fmt: skip
        ones = [
            RawRequests(
                {name: pa.array([value]) for name, value in request.items()},
                {
                    **{
                        name: self.catalogue[name].take(pa.array(row)).combine_chunks()
                        for name in self.catalogue.column_names
                    },
                    **cross,
                },
                np.array([len(row)]),
            )
            for request, row in zip(asked.requests, asked.keys, strict=True)
        ]
        trained = self.trained
        return lambda i: score_requests(trained.checkpoint_model, trained.schema, trained.fitted, ones[i])

    def _search(self, bundle: Bundle, request: dict[str, Any]) -> Callable[[int], Any]:
        assert self.stores is not None
        items = self.stores["float32"]
        vectors = items.of(items.keys())[:, 0]
        index = faiss().IndexFlatIP(vectors.shape[1])
        faiss().omp_set_num_threads(1)
        index.add(np.ascontiguousarray(vectors))
        query = np.ascontiguousarray(bundle.encode_request(request)[:, 0])
        return lambda i: index.search(query, _BEST)


def catalogue_of(trained: Trained, count: int) -> pa.Table:
    key = trained.schema.keys.item
    rng = np.random.default_rng(0)
    names = dict.fromkeys([str(key), *(f.column for f in trained.schema.side(Side.CANDIDATE))])
    return pa.table({n: np.arange(count) if n == key else rng.integers(0, 1000, count) for n in names})


def _features(case: _Case, scratch: Path) -> ItemFeatures:
    folder = scratch / "features"
    folder.mkdir()
    write_features(folder, _source(case, scratch), PassProgress(False))
    return ItemFeatures.load(folder, case.trained.version)


def _source(case: _Case, scratch: Path) -> Catalogue:
    pq.write_table(case.catalogue, scratch / "items.parquet")
    return Catalogue(case.trained, str(scratch / "items.parquet"), torch.device("cpu"))


def _stored(case: _Case, scratch: Path, kind: ItemType) -> ItemVectors:
    folder = scratch / kind
    folder.mkdir()
    write_items(folder, _source(case, scratch), kind, PassProgress(False), None, False)
    return ItemVectors.load(folder, case.trained.version)
