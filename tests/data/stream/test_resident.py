"""Batches of rows in memory are those of the stream, to the bit and in the same order."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.batch import Batch
from distill.data.stream import BatchLoader, PlacedBatch, ResidentReader, SplitReader, StreamOrder, plan_epoch, resident
from distill.data.stream.read import read_block
from distill.errors import ConfigError
from tests.marks import slow_except

from .builders import make_dataset, make_sidecar

LENGTHS = [[3, 0, 2, 5, 1, 4, 2, 2, 6], [0], [4, 1, 9, 2, 2, 3, 1]]
FLAT = [[1] * 15, [1] * 9]
ORDER = StreamOrder(batch_candidates=6, shuffle_buffer=12, num_shards=2, seed=0, shuffle=True)
CPU = torch.device("cpu")


@pytest.fixture(params=["requests", "flat", "signals"])
def reader(tmp_path: Path, request: pytest.FixtureRequest) -> SplitReader:
    layout = "flat" if request.param == "flat" else "requests"
    dataset = make_dataset(tmp_path / "data", FLAT if layout == "flat" else LENGTHS, layout)
    signals = str(make_sidecar(dataset, tmp_path / "signals")) if request.param == "signals" else None
    return SplitReader.open(dataset, dataset.schema, "train", signals)


def gathered(loader: BatchLoader) -> list[Batch]:
    return [batch.on(CPU) if isinstance(batch, PlacedBatch) else batch for batch in loader]


def check_equal(found: Sequence[Batch], expected: Sequence[Batch]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        pairs = list(zip(one.tensors(), other.tensors(), strict=True))
        assert all(a.dtype == b.dtype for a, b in pairs)
        torch.testing.assert_close([a for a, _ in pairs], [b for _, b in pairs], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("workers", slow_except([1, 3], 3))
@pytest.mark.parametrize(
    ("rank", "world", "shards"), slow_except([(0, 1, 1), (0, 1, 2), (1, 2, 3), (2, 3, 3)], (1, 2, 3))
)
def test_the_same_batches(
    reader: SplitReader, on_device: bool, workers: int, rank: int, world: int, shards: int
) -> None:
    held = ResidentReader.of(reader, on_device)
    for order in (replace(ORDER, num_shards=shards), replace(ORDER, num_shards=shards, shuffle=False)):
        for epoch in (0, 1):
            plan = plan_epoch(reader.index, order, epoch)
            expected = list(BatchLoader(reader, plan, rank, world, ahead=False))
            loader = BatchLoader(held, plan, rank, world, workers=workers)
            check_equal(gathered(loader), expected)
            loader.position = start = len(expected) // 2
            check_equal(gathered(loader), expected[start:])


@pytest.mark.parametrize("workers", [2, 5])
def test_workers_change_nothing(reader: SplitReader, workers: int) -> None:
    plan = plan_epoch(reader.index, ORDER, 0)
    expected = list(BatchLoader(reader, plan, ahead=False))
    loader = BatchLoader(reader, plan, workers=workers)
    check_equal(list(loader), expected)
    loader.position = 3
    check_equal(list(loader), expected[3:])


def test_the_host_knows_how_long_sequences_and_lists_of_the_device_are(reader: SplitReader) -> None:
    held = ResidentReader.of(reader, on_device=True)
    for batch in gathered(BatchLoader(held, plan_epoch(reader.index, ORDER, 0))):
        known = batch.measured()
        for side in ("request", "candidate"):
            for name, ragged in getattr(batch, side).sequences.items():
                assert ragged.longest == int(ragged.lengths.max())
                assert ragged.seen == getattr(known, side).sequences[name].seen
        assert batch.sizes == known.sizes
        assert batch.sizes is not None
        assert batch.sizes.positives == int(((batch.labels > 0) & batch.observed).sum())


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=9), min_size=1, max_size=3), st.integers(1, 30))
def test_any_requests(tmp_path_factory: pytest.TempPathFactory, files: list[list[int]], buffer: int) -> None:
    dataset = make_dataset(tmp_path_factory.mktemp("any"), [*files, [2]])
    reader = SplitReader.open(dataset, dataset.schema, "train")
    plan = plan_epoch(reader.index, replace(ORDER, shuffle_buffer=buffer), 0)
    expected = list(BatchLoader(reader, plan, ahead=False))
    check_equal(gathered(BatchLoader(ResidentReader.of(reader, True), plan)), expected)


def test_the_size_is_known_before_it_is_read(reader: SplitReader) -> None:
    block = ResidentReader.of(reader, False).held.block
    estimate = resident.held_bytes(reader.index, reader.layout)
    assert block.num_bytes <= estimate <= 1.5 * block.num_bytes


def test_what_is_larger_than_the_memory_is_refused(reader: SplitReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resident, "held_bytes", lambda *_: 1 << 60)
    with pytest.raises(ConfigError, match=r"(?s)data\.loader\.resident.*GiB"):
        ResidentReader.of(reader, False)


def test_rows_lie_in_one_place(reader: SplitReader, monkeypatch: pytest.MonkeyPatch) -> None:
    held = ResidentReader.of(reader, on_device=True).held
    moved: list[torch.device] = []
    original: Callable[..., object] = type(held.block).to
    monkeypatch.setattr(type(held.block), "to", lambda block, device: moved.append(device) or original(block, device))
    first = held.on(CPU)
    assert held.on(CPU) is first
    assert held.block is first
    assert moved == [CPU]


def test_a_gather_on_a_device_asks_it_for_nothing(reader: SplitReader) -> None:
    """On torch's device without values every look is an error."""
    held = ResidentReader.of(reader, on_device=True)
    plan = plan_epoch(reader.index, ORDER, 0)
    shapes = [[t.shape for t in batch.tensors()] for batch in BatchLoader(reader, plan, ahead=False)]
    placed = list(BatchLoader(held, plan))
    assert [[t.shape for t in batch.on(torch.device("meta")).tensors()] for batch in placed] == shapes


def test_files_are_read_once(reader: SplitReader, monkeypatch: pytest.MonkeyPatch) -> None:
    held = ResidentReader.of(reader, False)
    monkeypatch.setattr(resident, "read_block", lambda *_: pytest.fail("read again"))
    for part in reader.index.parts:
        part.file.path.unlink()
    for epoch in (0, 1):
        assert list(BatchLoader(held, plan_epoch(reader.index, ORDER, epoch)))
    assert read_block is not resident.read_block
