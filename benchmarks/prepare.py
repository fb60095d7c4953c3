"""How fast data is prepared, and how much memory that takes."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import re
import resource
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pyarrow.parquet as pq

from benchmarks.data import SearchBenchmark
from benchmarks.data.search import TextInput
from benchmarks.rows import BenchmarkRow
from distill.data.prepare import prepare
from distill.data.raw import DatasetSource, RawDataset
from distill.errors import DataError

TARGET_ROWS = 200_000
TARGET_MEMORY = 1.15
_CHILD_SECONDS = 7200.0


def measure_prepare(sources: Mapping[str, DatasetSource], directory: Path, *, repeats: int = 3) -> list[BenchmarkRow]:
    """Prepares raw Parquet files in turns; each turn prepares all of them.

    Args:
        sources: Name to what is prepared; raw files are written before the clock starts.
        directory: For raw and prepared files, which are deleted.
        repeats: Turns; the figures are medians.

    Returns:
        Raw rows per second of each.
    """
    rates = _rates(sources, directory, repeats)
    target = f"≥ {TARGET_ROWS:,}"
    return [BenchmarkRow(f"prepare/{name}", rate, "rows/s", target=target) for name, rate in rates.items()]


def measure_text(searches: int, directory: Path, *, repeats: int = 3) -> list[BenchmarkRow]:
    """Prepares searches of 20 titles each with query and title as ids and as text, in turns.

    Args:
        searches: Number of them, with four times as many things.
        directory: For raw and prepared files, which are deleted.
        repeats: Turns; the figures are medians.

    Returns:
        Searches per second of each, those of text compared with those of ids.
    """
    inputs: tuple[TextInput, ...] = ("ids", "words", "characters")
    rates = _rates({name: SearchBenchmark(searches, 4 * searches, name) for name in inputs}, directory, repeats)
    ratios = {name: rate / rates["ids"] for name, rate in rates.items() if name != "ids"}
    return [
        BenchmarkRow(
            f"prepare/query and title as {name}", rate, "requests/s", ratios.get(name), "as ids" * (name in ratios)
        )
        for name, rate in rates.items()
    ]


def _rates(sources: Mapping[str, DatasetSource], directory: Path, repeats: int) -> dict[str, float]:
    """Returns raw rows per second of each."""
    for name in sources:
        (directory / f"raw-{name}").mkdir(exist_ok=True)
    raws = {name: source.write_raw(directory / f"raw-{name}") for name, source in sources.items()}
    seconds: dict[str, list[float]] = {name: [] for name in raws}
    for _ in range(repeats):
        for name, raw in raws.items():
            began = time.perf_counter()
            prepare(raw, directory / "ready", progress=False)
            seconds[name].append(time.perf_counter() - began)
            shutil.rmtree(directory / "ready")
    rates = {name: raw_rows(raw) / median(seconds[name]) for name, raw in raws.items()}
    for name in raws:
        shutil.rmtree(directory / f"raw-{name}")
    return rates


def measure_growth(
    sources: Sequence[DatasetSource], directory: Path, *, timeout: float = _CHILD_SECONDS
) -> list[BenchmarkRow]:
    """Prepares data sets of growing size, each in a process of its own.

    Args:
        sources: The same with more and more rows; the first is the yardstick.
        directory: For raw and prepared files, which are deleted.
        timeout: Seconds that one preparation may take.

    Returns:
        Peak resident bytes of each, and the seconds of the processor that a million rows take.

    Raises:
        DataError: A preparation fails or takes longer.
    """
    rows: list[BenchmarkRow] = []
    first: _Cost | None = None
    for source in sources:
        raw = source.write_raw(directory / "raw")
        name, millions = f"prepare/{raw_rows(raw):,} rows", raw_rows(raw) / 1e6
        found = _cost_of(raw, directory / "ready", timeout)
        cost = _Cost(found.peak, found.processor / millions, found.wall / millions)
        first = first or cost
        aim = None if first is cost else f"≤ {TARGET_MEMORY}"
        rows += [
            BenchmarkRow(f"{name}/peak memory", cost.peak, "bytes", cost.peak / first.peak, "the first", aim),
            _of_first(f"{name}/processor", cost.processor, first.processor),
            _of_first(f"{name}/wall", cost.wall, first.wall),
        ]
        shutil.rmtree(directory / "raw")
        shutil.rmtree(directory / "ready")
    return rows


def _of_first(name: str, seconds: float, first: float) -> BenchmarkRow:
    return BenchmarkRow(name, seconds, "s a million rows", seconds / first, "the first")


def raw_rows(raw: RawDataset) -> int:
    """Counts the rows of raw Parquet files."""
    return sum(pq.read_metadata(path).num_rows for path in raw.files)


def peak_memory() -> int:
    """Returns the most bytes that this process has had in memory.

    Linux tells that of the program alone (VmHWM); elsewhere it is `ru_maxrss`, which may count the process that
    started this one.
    """
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="utf-8"))):
        return int(found.group(1)) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class _Cost(NamedTuple):
    """Most bytes in memory; seconds of the processor, and of the clock."""

    peak: int
    processor: float
    wall: float


def _cost_of(raw: RawDataset, out: Path, timeout: float) -> _Cost:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_prepare_and_tell, args=(raw, out, there), daemon=True)
    process.start()
    there.close()
    try:
        if not here.poll(timeout):
            raise DataError("Preparation took too long.", where=str(out), expected=f"at most {timeout:g} s")
        return _Cost(*here.recv())
    except EOFError as error:
        raise DataError("Preparation failed; its message is above.", where=str(out)) from error
    finally:
        process.kill()
        process.join()
        here.close()


def _prepare_and_tell(raw: RawDataset, out: Path, there: multiprocessing.connection.Connection) -> None:
    processor, clock = time.process_time(), time.perf_counter()
    prepare(raw, out, progress=False)
    there.send((peak_memory(), time.process_time() - processor, time.perf_counter() - clock))
