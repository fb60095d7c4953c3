"""Re-ranking for diversity: milliseconds of a request, and what of the ranking score a distance in the list costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from omegaconf import DictConfig

from benchmarks.interleave import interleave
from benchmarks.rows import BenchmarkRow
from distill.encodings.arrow import Int64
from distill.jobs.targets import Part
from distill.serving.diversity import Limit, alpha_ndcg, by_quotas, category_coverage, dpp, intra_list_distance, mmr
from distill.serving.diversity.criteria import standardised

Float32 = npt.NDArray[np.float32]
_TARGET = "≤ 5"  # milliseconds
_RELEVANT = 0.1  # share of the candidates, the best by score


@dataclass(frozen=True)
class DiversityBenchmark(Part):
    """Re-ranks requests whose candidates lie in clusters, the categories; some clusters score better than others.

    Attributes:
        candidates: N.
        k: How many are chosen.
        width: D of the vectors.
        categories: Clusters.
        window: Of the ways that have one.
        trade_offs: Of the curve.
        requests: Over which the curve is a mean.
        turns: How often each way is timed, after one that is not.
    """

    candidates: int
    k: int
    width: int
    categories: int
    window: int
    trade_offs: Sequence[float]
    requests: int
    turns: int

    def run(self, paths: DictConfig) -> list[BenchmarkRow]:
        """Measures times, then the curve."""
        return [*self._times(), *self._curve()]

    def _times(self) -> list[BenchmarkRow]:
        case = self._drawn(0)
        half = 0.5
        ways: dict[str, Callable[[], Int64]] = {
            "order of the score": lambda: np.argsort(-case.score, kind="stable")[: self.k],
            "mmr": lambda: mmr(case.score, case.vectors, self.k, half),
            f"mmr, window {self.window}": lambda: mmr(case.score, case.vectors, self.k, half, self.window),
            "dpp": lambda: dpp(case.score, case.vectors, self.k, half),
            f"dpp, window {self.window}": lambda: dpp(case.score, case.vectors, self.k, half, self.window),
            "quotas": lambda: by_quotas(case.score, self.k, case.limits),
            "mmr and quotas": lambda: mmr(case.score, case.vectors, self.k, half, None, case.limits),
        }
        found = interleave({name: _timed(way) for name, way in ways.items()}, self.turns)
        rows = []
        for name, series in found.items():
            target = _TARGET if name.startswith(("mmr", "dpp")) else None
            size = f"{self.candidates} to {self.k}"
            rows.append(BenchmarkRow(f"diversity/{size}/{name}", series.typical, "ms", target=target))
            rows.append(BenchmarkRow(f"diversity/{size}/{name}, fastest turn", min(series.values), "ms"))
        return rows

    def _curve(self) -> list[BenchmarkRow]:
        cases = [self._drawn(seed) for seed in range(self.requests)]
        ways: dict[str, Callable[[_Request], Int64]] = {
            "order of the score": lambda r: np.argsort(-r.score, kind="stable")[: self.k],
            "quotas": lambda r: by_quotas(r.score, self.k, r.limits),
        }
        for trade_off in self.trade_offs:
            ways[f"mmr {trade_off:g}"] = partial(self._by, mmr, trade_off, None)
            ways[f"dpp {trade_off:g}, window {self.window}"] = partial(self._by, dpp, trade_off, self.window)
        rows = []
        for name, way in ways.items():
            measured = np.array([case.measures(way(case)) for case in cases]).mean(0)
            for (what, unit), value in zip(_MEASURES.items(), measured.tolist(), strict=True):
                rows.append(BenchmarkRow(f"diversity/{name}/{what}", value, unit))
        return rows

    def _by(self, choose: Callable[..., Int64], trade_off: float, window: int | None, request: _Request) -> Int64:
        return choose(request.score, request.vectors, self.k, trade_off, window)

    def _drawn(self, seed: int) -> _Request:
        rng = np.random.default_rng(seed)
        codes = rng.integers(0, self.categories, self.candidates)
        centres, merits = rng.normal(size=(self.categories, self.width)), rng.normal(size=self.categories)
        vectors = centres[codes] + 0.7 * rng.normal(size=(self.candidates, self.width))
        score = merits[codes] + rng.normal(size=self.candidates)
        limits = [Limit(codes, 1, max(2, self.categories // 4))]
        return _Request(score.astype(np.float32), vectors.astype(np.float32), codes, limits)


_MEASURES = {
    "ranking score of the chosen": "deviations",
    "ranking score of the first 10": "deviations",
    "intra-list distance": "1 − cos",
    "intra-list distance of the first 10": "1 − cos",
    "category coverage of the first 10": "share",
    "α-NDCG": "share",
}


@dataclass(frozen=True)
class _Request:
    score: Float32
    vectors: Float32
    codes: Int64
    limits: Sequence[Limit]

    def measures(self, order: Int64) -> tuple[float, ...]:
        relevant = self.score >= np.quantile(self.score, 1 - _RELEVANT)
        return (
            float(standardised(self.score)[order].mean()),
            float(standardised(self.score)[order[:10]].mean()),
            intra_list_distance(self.vectors[order]),
            intra_list_distance(self.vectors[order[:10]]),
            category_coverage(self.codes[order[:10]], self.codes),
            alpha_ndcg(self.codes, relevant, order, len(order)),
        )


def _timed(way: Callable[[], Int64]) -> Callable[[], float]:
    """Measures the processor's time of this thread, which others on the machine disturb less; in milliseconds."""
    way()

    def measure() -> float:
        start = time.thread_time()
        way()
        return 1000 * (time.thread_time() - start)

    return measure
