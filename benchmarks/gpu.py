"""Training on a GPU through the framework, against a bare loop whose batches lie on the card."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from omegaconf import DictConfig

from benchmarks.epochs import BareLoop, Case, has_gpu
from benchmarks.interleave import interleave
from benchmarks.rows import BenchmarkRow
from distill.jobs.targets import Part

_RATE = "candidates/s"
_BARE = "bare loop, batches on the card"
_CANDIDATES = 100  # of a request


class _Model(NamedTuple):
    """What is trained, and the least ratios that are aimed at, by batch size."""

    overrides: tuple[str, ...]
    on_requests: bool
    aims: dict[int, float]


_MODELS = {
    "dcn_v2": _Model(
        ("model=dcn_v2", "model.net.body.hidden_units=[256,128,64]"), False, {4096: 2.0, 16384: 1.0, 65536: 1.0}
    ),
    "two_tower": _Model((), False, {4096: 3.0, 16384: 1.2, 65536: 1.0}),
    "requests": _Model((), True, {16384: 1.0, 65536: 1.0}),
    "transformer": _Model(("sequence@model.net.sequence=transformer",), True, {16384: 1.0, 65536: 1.0}),
}
_WAYS = {
    "from disk": (),
    "resident": ("data.loader.resident=device",),
    "captured, from disk": ("trainer.capture=auto",),
    "captured, resident": ("trainer.capture=auto", "data.loader.resident=device"),
}


@dataclass(frozen=True)
class GpuBenchmark(Part):
    """Measures whole training epochs in turns; without a GPU, on the CPU, which says nothing but that it runs.

    Attributes:
        rows: Rows of the flat data, and candidates of the request data.
        turns: How often each thing is measured.
        batches: Candidates of a batch.
        parts: Which models: dcn_v2, two_tower, requests, transformer.
    """

    rows: int
    turns: int
    batches: Sequence[int]
    parts: Sequence[str]

    def run(self, paths: DictConfig) -> list[BenchmarkRow]:
        """Measures every model with every size of batches."""
        return [row for part in self.parts for size in self.batches for row in self._measure(part, size, paths)]

    def _measure(self, part: str, size: int, paths: DictConfig) -> list[BenchmarkRow]:
        model = _MODELS[part]
        cases = {
            name: Case([*self._data(model), *model.overrides, *_settings(size), *options], paths)
            for name, options in _WAYS.items()
        }
        bare = BareLoop(cases["from disk"])
        for warm_up in (bare, cases["from disk"].framework):
            warm_up()
        ways: dict[str, Callable[[], float]] = {"bare": bare, **{name: c.framework for name, c in cases.items()}}
        found = interleave(ways, self.turns)
        del bare, ways
        gc.collect()
        aim = f"≥ {model.aims[size]:g}" if size in model.aims else None
        prefix = f"gpu/{part}, {size}"
        return [
            BenchmarkRow(f"{prefix}/bare", found["bare"].typical, _RATE),
            *(
                BenchmarkRow(
                    f"{prefix}/{name}", found[name].typical, _RATE, found[name].over(found["bare"]), _BARE, aim
                )
                for name in cases
            ),
            *(
                BenchmarkRow(f"{prefix}/{name}/data_wait", max(case.waits[-self.turns :]), "share", target="≤ 0.03")
                for name, case in cases.items()
            ),
        ]

    def _data(self, model: _Model) -> list[str]:
        if not model.on_requests:
            return ["data=benchmark_flat", f"data.adapter.rows={self.rows}"]
        return ["data=benchmark_requests", f"data.adapter.requests={max(self.rows // _CANDIDATES, 1)}"]


def _settings(size: int) -> list[str]:
    device = "gpu" if has_gpu() else "cpu"
    return [f"trainer={device}", f"data.loader.batch_candidates={size}", f"data.loader.eval_batch_candidates={size}"]
