"""How fast batches are read, against what pyarrow alone does with the same columns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import pyarrow as pa
import pyarrow.dataset as arrow_dataset
import torch
import torch.utils.dlpack
from torch import Tensor

from benchmarks.interleave import interleave
from benchmarks.rows import BenchmarkRow
from distill.data.format import Dataset, Split
from distill.data.stream import BatchLoader, ResidentReader, SplitReader, StreamOrder, plan_epoch
from distill.schema import Schema

TARGET = 0.8
CHECKS_TARGET = 1.02
_WORKERS = 4
_MORE_TURNS = 5  # a few percent are to be seen
_YARDSTICK = "pyarrow's to_batches and tensors of the same columns"


def measure_reader(
    dataset: Dataset,
    *,
    view: Schema | None = None,
    split: Split = "train",
    batch_candidates: int = 4096,
    shuffle_buffer: int = 262_144,
    repeats: int = 5,
) -> list[BenchmarkRow]:
    """Reads a split in turns with pyarrow and with the reader: shuffled and in order, with and without threads ahead.

    The reader is measured without its checks too: of checksums, of ids against the tables, and of finite numbers; with
    several threads that read and gather; and from rows that are in memory already.

    The yardstick reads the same columns by `dataset.to_batches` into batches of as many rows, views every column as a
    tensor, stacks the fields of a side to `[B, F]` and widens ids to int64, as batches hold them. It neither shuffles
    nor checks anything, and both use the threads of the process as they find them.

    Args:
        dataset: Prepared data.
        view: Fields that are read; all if not given.
        split: Which split.
        batch_candidates: Most candidates in a batch.
        shuffle_buffer: Candidates that are shuffled together.
        repeats: Turns; the figures are medians.

    Returns:
        Candidates per second of each way, the ratio to the yardstick beside; then the processor's time for a reading,
        which other programs disturb less than the clock's, and its ratio to a reading without checks.
    """
    reader = SplitReader.open(dataset, view or dataset.schema, split)
    parts = dataset.parts(split)
    candidates = sum(part.candidates for part in parts)
    rows = max(1, round(batch_candidates * sum(part.rows for part in parts) / candidates))

    def ours(shuffle: bool, ahead: bool, checked: bool = True, workers: int = 1) -> Callable[[], int]:
        used = replace(reader, layout=replace(reader.layout, checked=checked))
        return way(used, shuffle, ahead, workers)

    def way(
        used: SplitReader | ResidentReader, shuffle: bool = True, ahead: bool = True, workers: int = 1
    ) -> Callable[[], int]:
        plan = plan_epoch(reader.index, StreamOrder(batch_candidates, shuffle_buffer, 1, 0, shuffle), 0)
        return lambda: sum(batch.num_candidates for batch in BatchLoader(used, plan, ahead=ahead, workers=workers))

    held = ResidentReader.of(reader, on_device=False)
    ways = {
        "pyarrow": lambda: read_with_pyarrow(dataset, split, reader.layout.columns, rows),
        "shuffled": ours(True, True),
        "shuffled without prefetch": ours(True, False),
        "in order": ours(False, True),
        "shuffled without checks": ours(True, True, checked=False),
        f"shuffled with {_WORKERS} workers": ours(True, True, workers=_WORKERS),
        "shuffled in memory": way(held),
        f"shuffled in memory with {_WORKERS} workers": way(held, workers=_WORKERS),
    }
    seconds = interleave({name: _seconds(way, candidates) for name, way in ways.items()}, repeats)
    prefix = f"reader/{dataset.schema.name}"
    result = [BenchmarkRow(f"{prefix}/pyarrow", candidates / seconds["pyarrow"].typical, "candidates/s")]
    for name in list(ways)[1:]:
        ratio = seconds["pyarrow"].over(seconds[name])
        target = f"≥ {TARGET}" if name == "shuffled" else None
        value = candidates / seconds[name].typical
        result.append(BenchmarkRow(f"{prefix}/{name}", value, "candidates/s", ratio, _YARDSTICK, target))
    return [*result, _cost_of_checks(prefix, ways, candidates, repeats)]


def _cost_of_checks(prefix: str, ways: Mapping[str, Callable[[], int]], candidates: int, repeats: int) -> BenchmarkRow:
    names = ("shuffled", "shuffled without checks")
    measures = {name: _seconds(ways[name], candidates, time.process_time) for name in names}
    checked, unchecked = interleave(measures, repeats * _MORE_TURNS).values()
    return BenchmarkRow(
        f"{prefix}/checks",
        checked.typical,
        "s of processor",
        checked.over(unchecked),
        "a reading without checks",
        f"≤ {CHECKS_TARGET}",
    )


def read_with_pyarrow(dataset: Dataset, split: Split, columns: pa.Schema, batch_rows: int) -> int:
    """Reads columns of a split by pyarrow and turns them into stacked tensors.

    Args:
        dataset: Prepared data.
        split: Which split.
        columns: Of the part files.
        batch_rows: Rows of a batch.

    Returns:
        Number of candidates.
    """
    files = [str(dataset.root / part.path) for part in dataset.parts(split)]
    label = next(name for name in columns.names if name.startswith("label_"))
    candidates = 0
    for batch in arrow_dataset.dataset(files).to_batches(columns=columns.names, batch_size=batch_rows):
        tensors = {name: _tensor(column) for name, column in zip(columns.names, batch.columns, strict=True)}
        fields: dict[tuple[torch.dtype, int], list[Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("field_"):
                fields.setdefault((tensor.dtype, len(tensor)), []).append(tensor)
        for same in fields.values():
            stacked = torch.stack(same, dim=1)
            if stacked.dtype == torch.int32:
                stacked.long()
        candidates += len(tensors[label])
    return candidates


def _tensor(column: pa.Array) -> Tensor:
    """Views the values of a column, those of all lists if it holds lists."""
    if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
        column = column.flatten()
    tensor: Tensor = torch.utils.dlpack.from_dlpack(column)
    return tensor


def _seconds(
    read: Callable[[], int], candidates: int, clock: Callable[[], float] = time.perf_counter
) -> Callable[[], float]:
    """Returns what times one reading, after one that is not timed."""

    def measure() -> float:
        began = clock()
        found = read()
        if found != candidates:
            raise AssertionError(f"{found} of {candidates} candidates were read")
        return clock() - began

    measure()
    return measure
