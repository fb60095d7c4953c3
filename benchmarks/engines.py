"""How much faster data is prepared by two workers of Ray than by one."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

import pyarrow.dataset as pads
import pyarrow.parquet as pq
from omegaconf import DictConfig

from benchmarks.data import FlatBenchmark
from benchmarks.rows import BenchmarkRow
from distill.data.prepare import prepare
from distill.data.raw import RawDataset
from distill.engines import Engine, LocalEngine, RayEngine, RayOptions
from distill.files import raw_sibling, remove_leftovers
from distill.jobs.targets import Part
from distill.lock import locked

TARGET = 1.7


@dataclass(frozen=True)
class EnginesBenchmark(Part):
    """Prepares flat rows of string ids in this process, and on Ray with one and with two workers.

    Attributes:
        rows: Of them.
        files: That they are in.
        turns: How often each way is measured.
    """

    rows: int
    files: int
    turns: int

    def run(self, paths: DictConfig) -> list[BenchmarkRow]:
        """Measures in turns; Ray's start does not count, and is told."""
        root = Path(paths.data)
        root.mkdir(parents=True, exist_ok=True)
        with locked(root / ".engines.lock"):
            remove_leftovers(root / "engines")
            with raw_sibling(root / "engines") as folder:
                return self._measured(self._raw(folder), folder)

    def _raw(self, folder: Path) -> RawDataset:
        """Writes the rows, and cuts them into files."""
        source = FlatBenchmark(self.rows, encoding="vocabulary", string_ids=True)
        (folder / "whole").mkdir()
        raw, cut = source.write_raw(folder / "whole"), folder / "cut"
        cut.mkdir()
        size = -(-self.rows // self.files)
        table = pads.dataset([str(path) for path in raw.files]).to_table()
        paths = tuple(cut / f"{number:03d}.parquet" for number in range(-(-len(table) // size)))
        for number, path in enumerate(paths):
            pq.write_table(table.slice(number * size, size), path)
        shutil.rmtree(folder / "whole")
        return replace(raw, files=paths)

    def _measured(self, raw: RawDataset, folder: Path) -> list[BenchmarkRow]:
        seconds: dict[str, list[float]] = {"local": [], "ray, 1 worker": [], "ray, 2 workers": []}
        starts = []
        for _ in range(self.turns):
            seconds["local"].append(_seconds(partial(_prepared, raw, folder, LocalEngine())))
            for workers, name in ((1, "ray, 1 worker"), (2, "ray, 2 workers")):
                began = time.perf_counter()
                with RayEngine.started(RayOptions(workers=workers)) as engine:
                    list(engine.map(_nothing, None, range(workers), lambda _: None))  # its processes have imported all
                    starts.append(time.perf_counter() - began)
                    seconds[name].append(_seconds(partial(_prepared, raw, folder, engine)))
        rates = {name: self.rows / median(found) for name, found in seconds.items()}
        one, two = seconds["ray, 1 worker"], seconds["ray, 2 workers"]
        gain = median(a / b for a, b in zip(one, two, strict=True))
        return [
            BenchmarkRow("engines/prepare/local", rates["local"], "rows/s"),
            BenchmarkRow("engines/prepare/ray, 1 worker", rates["ray, 1 worker"], "rows/s"),
            BenchmarkRow(
                "engines/prepare/ray, 2 workers", rates["ray, 2 workers"], "rows/s", gain, "1 worker", f"≥ {TARGET}"
            ),
            BenchmarkRow("engines/start of ray", median(starts), "s"),
        ]


def _prepared(raw: RawDataset, folder: Path, engine: Engine) -> None:
    prepare(raw, folder / "ready", progress=False, engine=engine)
    shutil.rmtree(folder / "ready")


def _seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _nothing(_: None, part: int, advance: Callable[[int], None]) -> int:
    return part
