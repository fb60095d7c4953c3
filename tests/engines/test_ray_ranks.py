"""Ranks on Ray know their places as under torchrun, and end together with the error that explains the others."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from distill.engines import ray_ranks
from distill.engines.ray_ranks import RankShape, _Machine, _rank, _until_all_end, rank_places
from distill.engines.worker import Failed
from distill.errors import DataError, DistillError, RankError

TWO = [_Machine("10.0.0.1", 2345, "0,1"), _Machine("10.0.0.2", 9999, "4,5")]


def test_ranks_know_their_places() -> None:
    places = rank_places(RankShape(2, 2, cpus=3, gpus=1), TWO, "job")
    keys = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "CUDA_VISIBLE_DEVICES")
    assert [tuple(place[key] for key in keys) for place in places] == [
        ("0", "0", "0", "0", "0,1"),
        ("1", "1", "0", "0", "0,1"),
        ("2", "0", "1", "1", "4,5"),
        ("3", "1", "1", "1", "4,5"),
    ]
    for place in places:
        assert (place["WORLD_SIZE"], place["LOCAL_WORLD_SIZE"]) == ("4", "2")
        assert (place["MASTER_ADDR"], place["MASTER_PORT"]) == ("10.0.0.1", "2345")
        assert place["TORCHELASTIC_RUN_ID"] == "job"


def test_ranks_of_one_machine_meet_on_its_loopback_and_leave_gpus_alone() -> None:
    (place,) = rank_places(RankShape(), TWO[:1], "job")
    assert place["MASTER_ADDR"] == "127.0.0.1"
    assert "CUDA_VISIBLE_DEVICES" not in place


def test_a_machine_needs_room_for_all_its_ranks() -> None:
    assert RankShape(3, 4, cpus=2, gpus=1).bundle() == {"CPU": 8.0, "GPU": 4.0}
    assert RankShape(1, 2).bundle() == {"CPU": 2.0}


class RayError(Exception):
    """As Ray's."""


class RayTaskError(RayError):
    """As Ray's."""


class Ended:
    """A reference to a task that has ended, by what getting it returns or raises."""

    def __init__(self, result: Any = None) -> None:
        self.result = result


class Ray:
    """Tasks of which some have ended; `"late"` never ends."""

    exceptions = type("exceptions", (), {"RayError": RayError, "RayTaskError": RayTaskError})

    def __init__(self) -> None:
        self.cancelled: list[tuple[Any, bool]] = []

    def wait(self, left: list[Any], num_returns: int, timeout: float | None) -> tuple[list[Any], list[Any]]:
        ready = [one for one in left if one != "late"][:num_returns]
        assert ready or timeout is not None, "waits forever"
        return ready, [one for one in left if one not in ready]

    def get(self, reference: Any) -> Any:
        if isinstance(reference.result, Exception):
            raise reference.result
        return reference.result

    def cancel(self, reference: Any, force: bool = False) -> None:
        self.cancelled.append((reference, force))


def _end(monkeypatch: pytest.MonkeyPatch, *results: Any) -> Ray:
    monkeypatch.setattr(ray_ranks, "_REPORT_SECONDS", 0.05)
    ray = Ray()
    _until_all_end(ray, {Ended(result): rank for rank, result in enumerate(results)})  # type: ignore[arg-type]
    return ray


def test_ranks_that_end_well(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _end(monkeypatch, None, None, None).cancelled == []


LOST, OWN = Failed.of(RankError("The connection is lost.")), Failed.of(DataError("It is not good.", where="here"))


@pytest.mark.parametrize(
    ("results", "error", "said"),
    [
        ((LOST, OWN), DataError, "It is not good"),
        ((LOST, RayError("worker died by signal 9")), RankError, r"worker of rank 1 died(.|\n)*signal 9(.|\n)*resume"),
        ((LOST,), RankError, "connection is lost"),
        ((LOST, RayTaskError("with a traceback"), OWN), RayTaskError, "with a traceback"),
    ],
)
def test_what_explains_the_others_is_raised(
    results: tuple[Any, ...], error: type[Exception], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(error, match=said):
        _end(monkeypatch, *results)


def test_a_rank_that_goes_on_is_ended_with_one_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_ranks, "_REPORT_SECONDS", 0.05)
    ray = Ray()
    with pytest.raises(DataError):
        _until_all_end(ray, {"late": 0, Ended(OWN): 1})  # type: ignore[arg-type]
    assert ray.cancelled == [("late", True)]


def test_an_interrupted_job_leaves_its_ranks_time_for_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    ray, done = Ray(), Ended()
    plain, calls = ray.wait, list[float | None]()

    def wait(left: list[Any], num_returns: int, timeout: float | None) -> tuple[list[Any], list[Any]]:
        calls.append(timeout)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return plain(left, num_returns, timeout)

    monkeypatch.setattr(ray, "wait", wait)
    with pytest.raises(KeyboardInterrupt):
        _until_all_end(ray, {"late": 0, done: 1})  # type: ignore[arg-type]
    assert ray.cancelled[:2] == [("late", False), (done, False)]  # as Ctrl-C
    assert calls[1] is not None
    assert calls[1] >= 60
    assert ray.cancelled[2:] == [("late", True)]


def leave(argument: Any) -> None:
    if isinstance(argument, DistillError):
        raise argument
    sys.exit(argument)


@pytest.mark.parametrize(
    ("argument", "said"),
    [(3, "Rank 1 ended with an error"), (0, None), (None, None), (DataError("It is not good."), "It is not good")],
)
def test_what_a_rank_says_when_it_ends(
    argument: Any, said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.chdir(Path.cwd())  # and back
    failed = _rank(str(tmp_path), {"RANK": "1"}, leave, argument)
    assert Path.cwd() == tmp_path
    assert os.environ["RANK"] == "1"
    assert (failed is None) if said is None else (failed is not None and said in failed.problem)
