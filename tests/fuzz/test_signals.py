"""Signal files that are not what they should be: an error that names the file, or batches that are finite."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distill.data.format import Dataset
from distill.data.split import ColumnSplit
from distill.data.stream import BatchLoader, SplitReader, plan_epoch
from distill.errors import DistillError, SignalError
from tests.data.stream.builders import make_dataset, make_sidecar
from tests.fuzz.cases import Case
from tests.fuzz.mutations import (
    all_null,
    bad_text,
    lose_column,
    odd_column_beside,
    odd_value,
    other_list,
    other_rows,
    other_type,
    ragged,
    repeat_column,
)
from tests.fuzz.oracle import ORDER

Folder = Callable[[], AbstractContextManager[Path]]
MUTATIONS = [other_type, odd_value, other_list, ragged, all_null, bad_text, lose_column, repeat_column]
MUTATIONS += [odd_column_beside, other_rows]


def _spoil(rng: random.Random, path: Path) -> str:
    """Changes one signal file; returns how."""
    if rng.random() < 0.3:
        data = bytearray(path.read_bytes())
        at = rng.randrange(len(data))
        data[at] ^= 1 << rng.randrange(8)
        path.write_bytes(bytes(data if rng.random() < 0.6 else data[:at]))
        return "bytes"
    schema: dict[str, Any] = {"columns": {"teacher_click": 0, "teacher_like": 0, "hidden_top": 0}}
    case = Case("requests", schema, [pq.read_table(path)], ColumnSplit("part"))
    mutation = rng.choice(MUTATIONS)
    mutation(rng, case)
    pq.write_table(case.tables[0], path, row_group_size=rng.choice([4, 4, 4, 3]))
    return f"{mutation.__name__} {case.notes}"


def _read(dataset: Dataset, folder: Path) -> None:
    reader = SplitReader.open(dataset, dataset.schema, "train", str(folder))
    rows = 0
    for batch in BatchLoader(reader, plan_epoch(reader.index, ORDER, 0), ahead=False):
        assert batch.signals is not None
        assert batch.signals.logits.isfinite().all()
        assert all(hidden.isfinite().all() for hidden in batch.signals.hidden.values())
        rows += int((batch.weight == 1).sum())
    assert rows == sum(part.candidates for part in dataset.parts("train"))


def _check_refusal(refusal: DistillError, folder: Path, what: str) -> None:
    assert isinstance(refusal, SignalError), f"{what}: {refusal!r}"
    assert str(folder) in (refusal.where or ""), f"{what}: {refusal!r}"


def _case(seed: int, place: Path) -> str:
    rng = random.Random(seed)
    layout = rng.choice(["flat", "requests"])
    lengths = [[1] * 9, [1] * 5] if layout == "flat" else [[2, 0, 3, 1, 4, 1], [1, 5]]
    dataset = make_dataset(place / "data", lengths, layout)
    folder = make_sidecar(dataset, place / "signals")
    path = rng.choice(sorted((folder / "train").iterdir()))
    try:
        how = _spoil(rng, path)
    except (pa.ArrowException, ValueError, TypeError, OverflowError, LookupError, AttributeError):
        return "unwritable"
    try:
        _read(dataset, folder)
    except DistillError as refusal:
        _check_refusal(refusal, folder, f"seed {seed}, {how}")
        return "refused"
    except Exception as error:
        raise AssertionError(f"seed {seed}, {how}: {error!r}") from error
    return "correct"


def _run(seeds: range, folder: Folder, limited: Callable[[], None]) -> None:
    outcomes: Counter[str] = Counter()
    for seed in seeds:
        with folder() as place:
            limited()
            outcomes[_case(seed, place)] += 1
    assert outcomes["refused"] > len(seeds) // 3


def test_some_cases(folder: Folder, limited: Callable[[], None]) -> None:
    _run(range(60), folder, limited)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(1000, 1600, 150))
def test_many_cases(start: int, folder: Folder, limited: Callable[[], None]) -> None:
    _run(range(start, start + 150), folder, limited)
