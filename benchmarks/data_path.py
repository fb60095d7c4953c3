"""`benchmark=reader` and `benchmark=prepare` on the project's benchmark data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from omegaconf import DictConfig

from benchmarks.data import FlatBenchmark, RequestBenchmark
from benchmarks.prepare import measure_growth, measure_prepare, measure_text
from benchmarks.reader import measure_reader
from benchmarks.rows import BenchmarkRow
from distill.data.build import build_dataset
from distill.files import raw_sibling, remove_leftovers
from distill.jobs.targets import Part
from distill.lock import locked


@dataclass(frozen=True)
class ReaderBenchmark(Part):
    """Reads flat rows and requests in turns with pyarrow and with the reader.

    Attributes:
        rows: Flat rows, and candidates of the requests.
        turns: How often each way is measured.
    """

    rows: int
    turns: int

    def run(self, paths: DictConfig) -> list[BenchmarkRow]:
        """Measures both layouts."""
        sources = (FlatBenchmark(self.rows), RequestBenchmark(max(self.rows // 100, 1)))
        datasets = [build_dataset(source, Path(paths.data)) for source in sources]
        return [row for dataset in datasets for row in measure_reader(dataset, repeats=self.turns)]


@dataclass(frozen=True)
class PrepareBenchmark(Part):
    """Prepares flat rows with integer and with string ids, searches with text as ids and as tokens, and sets of growing
    size.

    Attributes:
        rows: Flat rows of the measurement of speed.
        growth: Flat rows of the sets of growing size.
        strings: Whether their ids are strings with vocabularies, else integers as they are.
        searches: Requests with texts.
        turns: How often speed is measured.
    """

    rows: int
    growth: tuple[int, ...]
    strings: bool
    searches: int
    turns: int

    def run(self, paths: DictConfig) -> list[BenchmarkRow]:
        """Measures speed, then memory."""
        sources = {
            "integer ids": FlatBenchmark(self.rows),
            "integer ids, vocabulary": FlatBenchmark(self.rows, encoding="vocabulary"),
            "string ids, vocabulary": FlatBenchmark(self.rows, encoding="vocabulary", string_ids=True),
            "string ids, hash": FlatBenchmark(self.rows, encoding="hash", string_ids=True),
        }
        root = Path(paths.data)
        root.mkdir(parents=True, exist_ok=True)
        with locked(root / ".benchmark.lock"):
            remove_leftovers(root / "benchmark")
            with raw_sibling(root / "benchmark") as folder:
                speed = measure_prepare(sources, folder, repeats=self.turns)
                speed += measure_text(self.searches, folder, repeats=self.turns)
                encoding: Literal["ids", "vocabulary"] = "vocabulary" if self.strings else "ids"
                grown = [FlatBenchmark(rows, encoding=encoding, string_ids=self.strings) for rows in self.growth]
                return [*speed, *measure_growth(grown, folder)]
