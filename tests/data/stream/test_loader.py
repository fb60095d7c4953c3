import tempfile
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.batch import Batch, Origin
from distill.data.stream import BatchLoader, EpochPlan, SplitReader, StreamOrder, plan_epoch
from distill.errors import ConfigError

from .builders import make_dataset

LENGTHS = [[3, 0, 2, 5, 1, 4, 2, 2, 6], [0], [4, 1, 9, 2, 2, 3, 1]]
ORDER = StreamOrder(batch_candidates=6, shuffle_buffer=12, num_shards=2, seed=0, shuffle=True)

sizes = st.lists(st.one_of(st.integers(0, 5), st.just(0), st.just(25)), min_size=1, max_size=12)
orders = st.builds(
    StreamOrder,
    batch_candidates=st.integers(1, 12),
    shuffle_buffer=st.integers(1, 30),
    num_shards=st.integers(1, 4),
    seed=st.integers(0, 5),
    shuffle=st.booleans(),
)


@pytest.fixture
def reader(tmp_path: Path) -> SplitReader:
    dataset = make_dataset(tmp_path, LENGTHS)
    return SplitReader.open(dataset, dataset.schema, "train")


def rows(batch: Batch) -> list[int]:
    """Positions of rows; a padding row is (-1)."""
    return batch.row.tolist()


def run(loader: BatchLoader, start: int = 0) -> list[list[int]]:
    loader.position = start
    return [rows(batch) for batch in loader]


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "distill-prefetch"]


@settings(max_examples=30, deadline=None)
@given(st.lists(sizes, min_size=1, max_size=3), st.integers(1, 5), orders, st.integers(1, 4), st.data())
def test_epoch_of_any_data(
    files: list[list[int]], group_size: int, order: StreamOrder, world: int, data: st.DataObject
) -> None:
    files = [*files, [1]]  # at least one candidate
    order = replace(order, num_shards=max(order.num_shards, world))
    with tempfile.TemporaryDirectory() as folder:
        dataset = make_dataset(Path(folder), files, group_size=group_size)
        reader = SplitReader.open(dataset, dataset.schema, "train")
        plan = plan_epoch(reader.index, order, epoch=data.draw(st.integers(0, 3)))
        ranks = [BatchLoader(reader, plan, rank, world, ahead=False) for rank in range(world)]
        seen = [list(loader) for loader in ranks]
        check_every_row_once(seen, files)
        check_steps_and_budget(seen, plan, world)
        alone = [sorted(rows(batch)) for batch in BatchLoader(reader, plan, ahead=False)]
        together = [sorted(row for batch in step for row in rows(batch)) for step in zip(*seen, strict=True)]
        assert alone == together
        start = data.draw(st.integers(0, len(ranks[0])))
        assert run(ranks[0], start) == [rows(batch) for batch in seen[0]][start:]


def check_every_row_once(seen: list[list[Batch]], files: list[list[int]]) -> None:
    lengths = [length for file in files for length in file]
    counts = Counter(row for batches in seen for batch in batches for row in rows(batch) if row >= 0)
    assert counts == Counter(range(sum(lengths)))
    for batches in seen:
        for batch in batches:
            found = Counter(batch.request_id[batch.request_index][batch.row >= 0].tolist())
            assert all(lengths[request - 1000] == count for request, count in found.items())
            assert ((batch.weight == 1) == (batch.row >= 0)).all()
            assert ((batch.origin == Origin.PADDING) == (batch.row < 0)).all()
            assert batch.num_candidates > 0


def check_steps_and_budget(seen: list[list[Batch]], plan: EpochPlan, world: int) -> None:
    assert {len(batches) for batches in seen} == {plan.num_steps}
    for rank, batches in enumerate(seen):
        shards = len(range(rank, plan.order.num_shards, world))
        for batch in batches:
            budget = plan.order.batch_candidates * shards
            assert batch.num_candidates <= budget or batch.request_index.bincount().max() > plan.order.batch_candidates


@pytest.mark.parametrize("ahead", [False, True])
def test_resumes_from_every_step(reader: SplitReader, ahead: bool) -> None:
    plan = plan_epoch(reader.index, ORDER, 2)
    loader = BatchLoader(reader, plan, ahead=ahead)
    full = run(loader)
    assert len(full) == len(loader) == plan.num_steps
    for start in range(len(full) + 1):
        assert run(loader, start) == full[start:]
        assert len(loader) == len(full)


def test_reading_ahead_changes_nothing(reader: SplitReader) -> None:
    plan = plan_epoch(reader.index, ORDER, 0)
    assert run(BatchLoader(reader, plan, ahead=True)) == run(BatchLoader(reader, plan, ahead=False))
    assert not threads()


def test_position_counts_yielded_batches_and_is_used_once(reader: SplitReader) -> None:
    loader = BatchLoader(reader, plan_epoch(reader.index, ORDER, 0))
    loader.position = 2
    for taken, _ in enumerate(loader, start=3):
        assert loader.position == taken
    assert loader.position == len(loader)
    assert len(list(loader)) == len(loader)
    with pytest.raises(ValueError, match="position must be in"):
        loader.position = len(loader) + 1


def test_skipped_blocks_are_not_read(reader: SplitReader) -> None:
    plan = plan_epoch(reader.index, replace(ORDER, num_shards=1), 0)
    blocks = plan.shards[0]
    assert len(blocks) > 2
    last = {unit.part for unit in blocks[-1].units}
    for number, part in enumerate(reader.index.parts):
        if number not in last:
            part.file.path.unlink()
    assert run(BatchLoader(reader, plan), blocks[-1].first_step)


def test_abandoned_iterator_leaves_no_thread(reader: SplitReader) -> None:
    loader = BatchLoader(reader, plan_epoch(reader.index, ORDER, 0))
    batches = iter(loader)
    next(batches)
    assert threads()
    del batches
    assert not threads()


def test_iterator_that_is_never_advanced_starts_no_thread(reader: SplitReader) -> None:
    iter(BatchLoader(reader, plan_epoch(reader.index, ORDER, 0)))
    assert not threads()


def test_waiting_is_measured(reader: SplitReader) -> None:
    loader = BatchLoader(reader, plan_epoch(reader.index, ORDER, 0))
    assert loader.data_wait == 0
    list(loader)
    assert loader.data_wait > 0


def test_epochs_differ_in_order(reader: SplitReader) -> None:
    first, second = (run(BatchLoader(reader, plan_epoch(reader.index, ORDER, epoch))) for epoch in (0, 1))
    assert first != second


def test_fewer_shards_than_processes_is_refused(reader: SplitReader) -> None:
    with pytest.raises(ConfigError, match=r"data\.loader\.num_shards"):
        BatchLoader(reader, plan_epoch(reader.index, ORDER, 0), rank=0, world_size=3)


def test_flat_batches_are_exactly_full(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, [[1] * 64], "flat", group_size=8)
    reader = SplitReader.open(dataset, dataset.schema, "train")
    plan = plan_epoch(reader.index, replace(ORDER, batch_candidates=8, shuffle_buffer=32, num_shards=1), 0)
    assert [batch.num_candidates for batch in BatchLoader(reader, plan)] == [8] * 8


@pytest.mark.parametrize(("ahead", "workers"), [(False, 1), (True, 1), (True, 3)])
@pytest.mark.parametrize("start", [0, 2])
def test_work_is_done_ahead_by_place(reader: SplitReader, ahead: bool, workers: int, start: int) -> None:
    loader = BatchLoader(reader, plan_epoch(reader.index, ORDER, 0), ahead=ahead, workers=workers)
    plain = run(loader, start)
    begun, seen = list[int](), set[str]()

    def begin(first: int) -> Any:
        begun.append(first)

        def work(batch: Any, place: int) -> Any:
            seen.add(threading.current_thread().name)
            return place, batch.row.tolist()

        return work

    loader.work = begin
    loader.position = start
    assert list(loader) == [*enumerate(plain, start)]
    assert begun == [start]
    assert (threading.current_thread().name in seen) == (not ahead)


@pytest.mark.parametrize("num_shards", [1, 2])
def test_an_error_of_the_work_comes_in_its_turn(reader: SplitReader, num_shards: int) -> None:
    loader = BatchLoader(reader, plan_epoch(reader.index, replace(ORDER, num_shards=num_shards), 0), workers=3)

    def work(batch: Any, place: int) -> Any:
        if place == 2:
            raise ConfigError("of the third")
        return place

    loader.work = lambda first: work
    found = []
    with pytest.raises(ConfigError, match="of the third"):
        found += [place for place in loader if found.append(place) is None]
    assert found == [0, 1]
