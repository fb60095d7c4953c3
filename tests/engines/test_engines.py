"""Tasks over parts: in order, whatever runs them, and errors that arrive whole."""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import distill.engines.processors
from distill.data.prepare.ahead import ahead
from distill.data.prepare.threads import threads
from distill.data.prepare.value_counter import ValueCounter
from distill.engines import Advance, Engine, LocalEngine, RayEngine, RayOptions, worker
from distill.engines.merging import Merging
from distill.engines.processors import keep_to, processors
from distill.engines.worker import Failed, run_task
from distill.errors import ConfigError, DataError, RankError
from tests.engines.dying import kill_workers

SMALL = RayOptions(workers=2, object_store_bytes=100 << 20)


def scaled(factor: int, part: int, advance: Advance) -> int:
    """The later parts are done first."""
    time.sleep(0.05 * max(0, 3 - part))
    advance(part)
    return factor * part


def failing(_: int, part: int, advance: Advance) -> int:
    if part == 2:
        raise DataError("It is not good.", where="here", expected="good", found="bad", remedy="Mend it.")
    return part


def listed(factor: int, part: int, advance: Advance) -> list[int]:
    return [scaled(factor, part, advance)]


def joined(results: Sequence[list[int]]) -> list[int]:
    return [one for result in results for one in result]


def failing_list(_: int, part: int, advance: Advance) -> list[int]:
    return [failing(_, part, advance)]


def deadly(_: int, part: int, advance: Advance) -> int:
    os._exit(3)


def check(engine: Engine) -> None:
    rows: list[int] = []
    assert list(engine.map(scaled, 10, range(20), rows.append)) == [10 * part for part in range(20)]
    assert sum(rows) == sum(range(20))
    assert list(engine.map(scaled, 10, [], rows.append)) == []
    done = engine.map(failing, 0, range(50), rows.append)
    assert [next(done), next(done)] == [0, 1]
    with pytest.raises(DataError) as raised:
        next(done)
    error = raised.value
    assert (error.where, error.expected, error.found, error.remedy) == ("here", "good", "bad", "Mend it.")
    assert list(engine.map(scaled, 2, [4], rows.append)) == [8]


def check_merged(engine: Engine, parts: int, left: int) -> None:
    rows: list[int] = []
    found = list(engine.map_merged(listed, joined, 10, range(parts), rows.append))
    assert joined(found) == [10 * part for part in range(parts)]
    assert len(found) == left
    assert sum(rows) == sum(range(parts))
    with pytest.raises(DataError, match="Mend it"):
        list(engine.map_merged(failing_list, joined, 0, range(50), rows.append))


def test_in_this_process() -> None:
    check(LocalEngine())
    check_merged(LocalEngine(), 20, 20)
    assert LocalEngine().portions([3, 4]) == [[3, 4]]
    assert LocalEngine().portions([]) == []


@pytest.mark.parametrize(("parts", "left"), [(0, 0), (7, 7), (8, 1), (20, 6), (64, 1), (65, 2), (200, 3 + 1 + 0)])
def test_merged_results_stay_in_order(parts: int, left: int) -> None:
    """Groups of eight, and groups of these: what is left of 200 is 3 of 64 and one of 8."""
    merges = 0

    def counted(results: Sequence[list[int]]) -> list[int]:
        nonlocal merges
        merges += 1
        return joined(results)

    merging = Merging(counted)
    for part in range(parts):
        merging.add([part])
    assert joined(merging.left()) == list(range(parts))
    assert len(merging.left()) == left
    assert merges == parts // 8 + parts // 64


def test_what_is_sent_is_merged_before() -> None:
    counter = ValueCounter()
    for _ in range(3):
        counter.add(pa.array(["a", "b", "a"]), np.ones(3, bool))
    assert len(counter._pending) == 3
    there = pickle.loads(pickle.dumps(counter))
    assert there._pending == []
    assert sorted(there.result().select(["value", "count"]).to_pydict()["count"]) == [3, 6]


def test_errors_travel_whole() -> None:
    error = DataError("It is not good.", where="here", remedy="Mend it.")
    found = pickle.loads(pickle.dumps(Failed.of(error))).error()
    assert type(found) is DataError
    assert str(found) == str(error)


def test_a_cluster_has_its_size_already() -> None:
    with pytest.raises(ConfigError, match=r"ray\.workers"):
        RayOptions("10.0.0.1:6379", workers=2)


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"distill-ranker\[ray\]"), RayEngine.started(RayOptions()):
        pass


@pytest.fixture
def ray_engine() -> Iterator[RayEngine]:
    pytest.importorskip("ray")
    with RayEngine.started(SMALL) as engine:
        yield engine


@pytest.mark.slow
def test_on_ray(ray_engine: RayEngine) -> None:
    check(ray_engine)
    check_merged(ray_engine, 20, 6)
    assert ray_engine.portions([3, 4]) == [[3], [4]]
    with pytest.raises(ConfigError, match="already running in this process"), RayEngine.started(SMALL):
        pass


@pytest.mark.slow
def test_a_part_whose_worker_was_killed_is_done_again(
    ray_engine: RayEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_workers(monkeypatch, tmp_path / "killed")
    assert list(ray_engine.map(scaled, 10, range(4), lambda _: None)) == [0, 10, 20, 30]
    assert len(list((tmp_path / "killed").iterdir())) == 4
    check_merged(ray_engine, 16, 2)
    assert (tmp_path / "killed" / "joined").exists()


@pytest.mark.slow
def test_a_part_that_kills_every_worker_ends_the_job(ray_engine: RayEngine) -> None:
    with pytest.raises(RankError, match="died 4 times"):
        list(ray_engine.map(deadly, 0, [1], lambda _: None))


def test_what_is_shared_is_read_once_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Store:
        @staticmethod
        def get(reference: int) -> int:
            asked.append(reference)
            return reference

    kept = []
    monkeypatch.setitem(sys.modules, "ray", Store)
    monkeypatch.setattr(worker, "keep_to", kept.append)
    for token, reference in (("a", 1), ("a", 1), ("b", 2)):
        assert run_task(token, scaled, [".", reference], 4) == (4, 4 * reference)
    told, result = run_task("b", failing, [".", 2], 2)
    assert (type(told), result) == (Failed, None)
    assert asked == [1, 2]
    assert kept == [1, 1]


def test_a_worker_keeps_to_its_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the pools of `prepare` nor its reading ahead, nor Arrow, take more."""
    before = pa.cpu_count()
    pa.set_cpu_count(2)
    monkeypatch.setattr(distill.engines.processors, "_given", None)
    try:
        keep_to(1)
        assert (processors(), pa.cpu_count(), threads()._max_workers) == (1, 1, 1)
        assert list(ahead(threading.current_thread() for _ in range(3))) == [threading.current_thread()] * 3
    finally:
        pa.set_cpu_count(before)
