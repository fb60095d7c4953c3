"""How cost grows: with the data, with the tables, and what a start costs."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from benchmarks.epochs import Case
from benchmarks.probe import flat_overrides
from benchmarks.rows import BenchmarkRow
from distill.errors import DataError
from distill.jobs.node import plain
from distill.jobs.targets import Part

_ROOT = Path(__file__).resolve().parents[1]
_TIMEOUT = 3600.0


@dataclass(frozen=True)
class ScaleBenchmark(Part):
    """Trains the two-tower in processes of their own, in turns, and compares speed and peak memory.

    Attributes:
        rows: Sizes of the flat data, rising; the first is the yardstick of speed, the second of memory.
        ids: Rows of all embedding tables, rising; the first is the yardstick.
        turns: How often each is measured.
    """

    rows: tuple[int, ...]
    ids: tuple[int, ...]
    turns: int

    def run(self, paths: DictConfig) -> list[BenchmarkRow]:
        """Measures growth with the data, growth with the tables, and the start."""
        return [*self._data(paths), *self._tables(paths), *self._start(paths)]

    def _data(self, paths: DictConfig) -> list[BenchmarkRow]:
        found = self._in_turns([{"rows": count, "ids": self.ids[0], "steps": 0} for count in self.rows], paths)
        speed, memory = found[0], found[min(1, len(found) - 1)]
        rows = []
        for count, probes in zip(self.rows, found, strict=True):
            ratio = _ratio(probes, speed, "rate")
            rows.append(
                BenchmarkRow(f"scale/{count:,} rows/speed", _median(probes, "rate"), "rows/s", ratio,
                             f"{self.rows[0]:,} rows", "0.9 to 1.1")
            )  # fmt: skip
        for count, probes in zip(self.rows[1:], found[1:], strict=True):
            ratio = _ratio(probes, memory, "peak")
            rows.append(
                BenchmarkRow(f"scale/{count:,} rows/peak memory", _median(probes, "peak") / 1e9, "GB", ratio,
                             f"{self.rows[1]:,} rows", "≤ 1.15")
            )  # fmt: skip
        return rows

    def _tables(self, paths: DictConfig) -> list[BenchmarkRow]:
        found = self._in_turns([{"rows": self.rows[0], "ids": count, "steps": 0} for count in self.ids], paths)
        return [
            BenchmarkRow(f"scale/{count:,} ids/step", _median(probes, "step") * 1000, "ms",
                         _ratio(probes, found[0], "step"), f"{self.ids[0]:,} ids", "≤ 1.25")
            for count, probes in zip(self.ids, found, strict=True)
        ]  # fmt: skip

    def _start(self, paths: DictConfig) -> list[BenchmarkRow]:
        probe = {"rows": self.rows[0], "ids": self.ids[0], "steps": 1}
        starts = [_probe(probe, paths)["start"] for _ in range(self.turns)]
        return [BenchmarkRow("scale/start to first step", sorted(starts)[len(starts) // 2], "s", target="≤ 6")]

    def _in_turns(self, probes: list[dict[str, int]], paths: DictConfig) -> list[list[dict[str, float]]]:
        for probe in probes:  # in this process: what preparing needs must not count as training's memory
            Case(flat_overrides(probe["rows"], probe["ids"]), paths).dataset  # noqa: B018
        found: list[list[dict[str, float]]] = [[] for _ in probes]
        for _ in range(self.turns):
            for values, probe in zip(found, probes, strict=True):
                values.append(_probe(probe, paths))
        return found


def _median(probes: list[dict[str, float]], name: str) -> float:
    return sorted(probe[name] for probe in probes)[len(probes) // 2]


def _ratio(probes: list[dict[str, float]], yardstick: list[dict[str, float]], name: str) -> float:
    ratios = sorted(a[name] / b[name] for a, b in zip(probes, yardstick, strict=True))
    return ratios[len(ratios) // 2]


def _probe(probe: dict[str, int], paths: DictConfig) -> dict[str, float]:
    """Trains one epoch (or `steps` steps) in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "probe.json"
        content = json.dumps({**probe, "paths": plain(paths), "out": str(out), "launched": time.time()})
        command = [sys.executable, "-m", "benchmarks.probe", content]
        done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
        if done.returncode != 0 or not out.exists():
            raise DataError("A measurement failed.", where=" ".join(command[:3]), found=done.stderr[-2000:])
        found: dict[str, float] = json.loads(out.read_text(encoding="utf-8"))
        return found
