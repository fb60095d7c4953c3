"""Every model as a bundle: how far its scores are from the checkpoint's, how large it is, how long a request takes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose
from omegaconf import DictConfig

from benchmarks.epochs import Case
from benchmarks.rows import BenchmarkRow
from distill.data.format import Dataset
from distill.data.stream import iterate_part
from distill.encodings import PackedEncodings
from distill.export import BundleOptions, Trained, write_bundle
from distill.export.golden import RawRequests, draw_requests, score_requests
from distill.jobs.conf import conf_folder
from distill.jobs.node import plain
from distill.jobs.parts import build_model, is_preranker
from distill.jobs.targets import Part
from distill.models.prerankers.fitted import FittedPreRanker
from distill.serving import Bundle

TARGET = 1e-5
_SEEDS = range(1, 6)


@dataclass(frozen=True)
class BundleBenchmark(Part):
    """Exports models with random weights and scores raw requests.

    Attributes:
        data: Config of the data whose schema they have.
        models: Their names; all of `conf/model` if empty.
        candidates: Of a request.
        turns: How often a request is timed.
    """

    data: str
    models: Sequence[str]
    candidates: int
    turns: int

    def run(self, paths: DictConfig) -> list[BenchmarkRow]:
        """Measures one model after the other."""
        dataset = Case([f"data={self.data}"], paths).dataset
        names = list(self.models) or sorted(path.stem for path in (conf_folder() / "model").glob("*.yaml"))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return [row for name in names for row in self._rows(name, random_model(name, dataset).in_parts())]
        finally:
            torch.set_num_threads(threads)

    def _rows(self, name: str, trained: Trained) -> list[BenchmarkRow]:
        with tempfile.TemporaryDirectory() as scratch:
            bundle = write_bundle(trained, Path(scratch) / "bundle", BundleOptions(exported=False))
            worst = max(_difference(bundle, trained, seed) for seed in _SEEDS)
            size = sum(path.stat().st_size for path in [*bundle.root.glob("*.onnx"), bundle.root / "weights.bin"])
            served, eager = self._milliseconds(bundle, trained)
        return [
            BenchmarkRow(f"{name}/largest difference of a logit", worst, "", target=f"≤ {TARGET:g}"),
            BenchmarkRow(f"{name}/programs and weights", size, "bytes"),
            BenchmarkRow(
                f"{name}/raw request to {self.candidates} scores", served, "ms", served / eager, "encoding and PyTorch"
            ),
        ]

    def _milliseconds(self, bundle: Bundle, trained: Trained) -> tuple[float, float]:
        """Medians of one request from raw columns on one thread: by the bundle, and by encoding and eager PyTorch."""
        drawn = draw_requests(trained.schema, trained.fitted, seed=0)
        place = np.resize(np.arange(int(drawn.counts.sum())), self.candidates)
        request = {name: values.slice(0, 1) for name, values in drawn.request.items()}
        plain_request = {name: values[0].as_py() for name, values in request.items()}
        candidates = {name: values.take(place) for name, values in drawn.candidate.items()}
        one = RawRequests(request, candidates, np.array([self.candidates]))
        ways: dict[str, Callable[[], Any]] = {
            "bundle": lambda: bundle.score(plain_request, candidates),
            "eager": lambda: score_requests(trained.checkpoint_model, trained.schema, trained.fitted, one),
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(self.turns):
            for name, call in ways.items():
                start = time.perf_counter()
                call()
                times[name].append(1000 * (time.perf_counter() - start))
        return float(np.median(times["bundle"])), float(np.median(times["eager"]))


def random_model(name: str, dataset: Dataset) -> Trained:
    """Returns a model whose weights are not those of a beginning; how good it is does not matter."""
    net = plain(compose("config", [f"model={name}"]).model.net)
    schema = dataset.schema.serving_view() if is_preranker(net, "model.net") else dataset.schema
    torch.manual_seed(0)
    model = build_model(net, schema, "model.net")
    if isinstance(model, FittedPreRanker):
        model.fit(iterate_part(dataset, "train", 0, schema, 4096))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    saved = dataset.manifest.encodings.of(schema.fields)
    return Trained(model.eval(), schema, PackedEncodings.read(dataset.root, saved))


def _difference(bundle: Bundle, trained: Trained, seed: int) -> float:
    raw = draw_requests(trained.schema, trained.fitted, seed)
    wanted = score_requests(trained.checkpoint_model, trained.schema, trained.fitted, raw).numpy()
    found = bundle.score_batch(raw.request, raw.candidate, raw.counts).logits
    return float((np.abs(found - wanted) / np.maximum(1.0, np.abs(wanted))).max())
