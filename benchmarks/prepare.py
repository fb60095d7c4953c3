"""How fast data is prepared, and how much memory that takes."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import re
import resource
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import pyarrow.parquet as pq

from benchmarks.data import SearchBenchmark
from benchmarks.data.search import TextInput
from benchmarks.rows import BenchmarkRow
from distill.data.prepare import prepare
from distill.data.raw import DatasetSource, RawDataset
from distill.errors import DataError

TARGET_ROWS = 200_000
TARGET_MEMORY = 1.15
_CHILD_SECONDS = 1800.0


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


def measure_prepare_memory(
    small: DatasetSource, large: DatasetSource, directory: Path, *, timeout: float = _CHILD_SECONDS
) -> list[BenchmarkRow]:
    """Compares the peak memory of preparing a small and a large data set, each in a process of its own.

    Args:
        small: The yardstick.
        large: The same with more rows.
        directory: For raw and prepared files, which are deleted.
        timeout: Seconds that one preparation may take.

    Returns:
        Peak resident bytes of each.

    Raises:
        DataError: A preparation fails or takes longer.
    """
    rows, peaks = [], []
    for source in (small, large):
        raw = source.write_raw(directory / "raw")
        rows.append(raw_rows(raw))
        peaks.append(_peak_of(raw, directory / "ready", timeout))
        shutil.rmtree(directory / "raw")
        shutil.rmtree(directory / "ready")
    names = [f"prepare/peak memory/{count:,} rows" for count in rows]
    against = f"{rows[0]:,} rows"
    return [
        BenchmarkRow(names[0], peaks[0], "bytes"),
        BenchmarkRow(names[1], peaks[1], "bytes", peaks[1] / peaks[0], against, f"≤ {TARGET_MEMORY}"),
    ]


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


def _peak_of(raw: RawDataset, out: Path, timeout: float) -> int:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_prepare_and_tell, args=(raw, out, there), daemon=True)
    process.start()
    there.close()
    try:
        if not here.poll(timeout):
            raise DataError("Preparation took too long.", where=str(out), expected=f"at most {timeout:g} s")
        return int(here.recv())
    except EOFError as error:
        raise DataError("Preparation failed; its message is above.", where=str(out)) from error
    finally:
        process.kill()
        process.join()
        here.close()


def _prepare_and_tell(raw: RawDataset, out: Path, there: multiprocessing.connection.Connection) -> None:
    prepare(raw, out, progress=False)
    there.send(peak_memory())
