"""Metrics computed where the rows lie: the same values, while there is room for them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from distill.batch import MISSING_KEY
from distill.data.popularity import ItemExposures
from distill.errors import ConfigError
from distill.metrics import (
    AUCAndLogLoss,
    GroupedAUC,
    HitRate,
    Metric,
    MetricState,
    MetricSuite,
    NewItems,
    PassedOn,
    PopularityBands,
    ScoredRows,
    give_exposures,
    give_known_items,
    room,
)
from distill.metrics.curves import curves_of
from distill.metrics.evaluation import Evaluation
from distill.metrics.rows import concatenate
from distill.ops.brought import Brought
from distill.ops.waiting import as_on_a_device
from tests.metrics.test_suite import TASKS, every_metric
from tests.no_sync import waits

Table = Callable[..., ScoredRows]


def all_metrics() -> MetricSuite:
    more: dict[str, Metric] = {
        "by_request": GroupedAUC(by="request"),
        "both": AUCAndLogLoss(),
        "hits": HitRate(ks=[3]),
        "bands": PopularityBands(ks=(3,), m=2),
        "passed": PassedOn(ks=(3,)),
        "new": NewItems(ks=(3,), m=2, column="utility"),
    }
    suite = MetricSuite({**every_metric(), **more})
    give_exposures(suite.metrics, ItemExposures(torch.arange(40), torch.arange(40) % 7 + 1))
    give_known_items(suite.metrics, torch.arange(25))
    return suite


def weighted(rows: ScoredRows) -> ScoredRows:
    draw = torch.Generator().manual_seed(9)
    partly = torch.rand(rows.num_rows, generator=draw) < 0.8
    return replace(rows, weight=0.1 + torch.rand(rows.num_rows, generator=draw), teacher_valid=partly)


def observed_everywhere(rows: ScoredRows) -> ScoredRows:
    return replace(rows, observed=torch.ones_like(rows.observed))


def with_unknown(rows: ScoredRows) -> ScoredRows:
    unknown = torch.arange(rows.num_rows) % 7 == 0
    return replace(
        rows,
        item_id=rows.item_id.masked_fill(unknown, MISSING_KEY),
        user_id=rows.user_id.masked_fill(unknown, MISSING_KEY),
    )


@pytest.mark.parametrize("change", [weighted, observed_everywhere, with_unknown])
def test_metrics_of_a_device_are_those_of_the_host(table: Table, change: Callable[[ScoredRows], ScoredRows]) -> None:
    rows, suite = change(table([40, 1, 7, 3] * 60)), all_metrics()
    here, sampled_here = suite.measure(rows, TASKS)
    drawn_here = curves_of(suite, Evaluation(rows, TASKS))
    with as_on_a_device():
        there, sampled_there = suite.measure(rows, TASKS)
        drawn_there = curves_of(suite, Evaluation(rows, TASKS))
    assert len(here) > 60
    assert there == pytest.approx(here, rel=1e-12, abs=1e-15, nan_ok=True)
    errors = ({name: float(part.standard_error()) for name, part in of.items()} for of in (sampled_here, sampled_there))
    assert next(errors) == pytest.approx(next(errors), rel=1e-9, nan_ok=True)
    assert drawn_there.calibration["click"].observed == pytest.approx(drawn_here.calibration["click"].observed)


def test_rows_stay_while_there_is_room_and_leave_together(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = table([3, 2, 4])
    size = sum(tensor.nbytes for tensor in rows.tensors())
    pieces = [rows.select(torch.arange(9)[first : first + 3]) for first in range(0, 9, 3)]

    def brought(free: int) -> tuple[ScoredRows, list[str]]:
        monkeypatch.setattr(room, "free_bytes", lambda device: free)
        state = MetricState("auto")
        state._rows = Brought(concatenate, most=3, stays=room.has_room)
        with as_on_a_device(), waits() as found:
            for piece in pieces:
                state.update(piece)
            before = [place.split(" at ")[0] for place in found]
            return state.gather().rows, before

    fits, copies = brought(room.WORK * size)
    assert copies == []
    full, copies = brought(room.WORK * size - 1)
    assert set(copies) == {"cpu"}
    assert len(copies) == 3 * len(rows.tensors())  # two pieces had stayed, the third does not fit
    for found in (fits, full):
        assert all(torch.equal(x, y) for x, y in zip(found.tensors(), rows.tensors(), strict=True))


def test_a_table_is_moved_where_there_is_room(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, device = table([3, 2]), torch.device("meta")
    size = sum(tensor.nbytes for tensor in rows.tensors())
    monkeypatch.setattr(room, "free_bytes", lambda device: room.WORK * size)
    assert room.moved(rows, device, "auto").row.device == device
    assert room.moved(rows, device, "host") is rows
    monkeypatch.setattr(room, "free_bytes", lambda device: room.WORK * size - 1)
    assert room.moved(rows, device, "auto") is rows
    monkeypatch.undo()
    assert room.free_bytes(torch.device("cpu")) == room.free_bytes(torch.device("meta")) == 0


def test_several_processes_compute_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "free_bytes", lambda device: 1 << 40)
    assert room.has_room(1000, torch.device("cuda"))
    monkeypatch.setattr(room, "world_size", lambda: 2)
    assert not room.has_room(1000, torch.device("cuda"))


def test_what_a_device_has_no_memory_for_is_computed_on_the_host(table: Table) -> None:
    rows = table([3, 2])
    there: Any = SimpleNamespace(row=SimpleNamespace(device=torch.device("cuda")), to=lambda device: rows)

    def work(of: ScoredRows) -> int:
        if of is not rows:
            raise torch.OutOfMemoryError
        return of.num_rows

    assert room.where_room_is(work, there) == 5

    def never(of: ScoredRows) -> int:
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        room.where_room_is(never, rows)


def test_another_place_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be computed there") as raised:
        MetricSuite({}, device="gpu")  # type: ignore[arg-type]
    assert raised.value.where == "metrics.device"
    host = MetricSuite({}, device="host")
    assert host.pointwise.device == host.without_probabilities.device == "host"


class Peak(TorchDispatchMode):
    """Bytes of the tensors that are alive and were made within."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._users: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = {id(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and id(tensor) not in given:
                self._hold(tensor)
        return out

    def _hold(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if not self._users.get(key):
            self.now += size
            self.most = max(self.most, self.now)
        self._users[key] = self._users.get(key, 0) + 1
        weakref.finalize(tensor, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._users[key] -= 1
        if not self._users[key]:
            self.now -= size


@pytest.mark.parametrize("tasks", [1, 4])
def test_metrics_need_no_more_memory_than_is_asked_for(table: Table, tasks: int) -> None:
    names = [f"task_{k}" for k in range(tasks)]
    rows, suite = observed_everywhere(table([50] * 200, num_tasks=tasks)), all_metrics()
    pieces = [rows.select(torch.arange(5000)), rows.select(torch.arange(5000, 10_000))]
    size = sum(tensor.nbytes for tensor in rows.tensors())
    peak = Peak()
    with as_on_a_device(), peak:
        joined = concatenate(pieces)
        suite.compute(joined, names)
    assert size < peak.most < 0.7 * room.WORK * size
