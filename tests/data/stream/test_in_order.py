"""Results come in the order of the tasks, whatever the threads do."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from distill.data.stream.in_order import in_order


def slow(number: int) -> int:
    time.sleep(random.random() / 500)
    return number


def broken() -> int:
    raise ValueError("broken")


@pytest.mark.parametrize(("workers", "ahead"), [(None, 0), (1, 0), (1, 3), (4, 1), (4, 9)])
def test_order(workers: int | None, ahead: int) -> None:
    tasks = (partial(slow, number) for number in range(40))
    if workers is None:
        assert list(in_order(tasks, None, ahead)) == list(range(40))
        return
    with ThreadPoolExecutor(workers) as pool:
        assert list(in_order(tasks, pool, ahead)) == list(range(40))


def test_no_more_run_than_asked_for() -> None:
    asked: list[int] = []

    def tasks() -> Iterator[Callable[[], int]]:
        for number in range(20):
            asked.append(number)
            yield partial(slow, number)

    with ThreadPoolExecutor(4) as pool:
        results = in_order(tasks(), pool, 3)
        for number in range(10):
            assert next(results) == number
            assert len(asked) == number + 4
        results.close()
        assert len(asked) == 13


@pytest.mark.parametrize("of_a_task", [True, False])
def test_an_error_comes_after_the_results_before_it(of_a_task: bool) -> None:
    def tasks() -> Iterator[Callable[[], int]]:
        yield partial(slow, 0)
        yield partial(slow, 1)
        if of_a_task:
            yield broken
        else:
            broken()

    with ThreadPoolExecutor(2) as pool:
        results = in_order(tasks(), pool, 5)
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(ValueError, match="broken"):
            next(results)


def test_closing_waits_for_what_runs_and_starts_nothing() -> None:
    running, release, done = threading.Event(), threading.Event(), threading.Event()

    def held() -> None:
        running.set()
        release.wait(10)
        done.set()

    def never() -> None:
        raise AssertionError("this was not to run")

    with ThreadPoolExecutor(1) as pool:
        results = in_order(iter([partial(slow, 0), held, never]), pool, 2)
        next(results)
        running.wait(10)
        threading.Timer(0.05, release.set).start()
        results.close()
        assert done.is_set()
