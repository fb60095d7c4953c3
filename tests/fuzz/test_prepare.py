"""Thousands of odd and broken raw datasets: a located error or a correct result, nothing else.

Repeat one case: `run_case(SEED, folder)`; the report of a failure names the seed and what was done to the data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.fuzz.oracle import run_case

Folder = Callable[[], AbstractContextManager[Path]]
BLOCK = 250


def _run(seeds: range, folder: Folder, limited: Callable[[], None]) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    for seed in seeds:
        with folder() as place:
            limited()
            outcomes[run_case(seed, place)] += 1
    return outcomes


def test_some_cases(folder: Folder, limited: Callable[[], None]) -> None:
    outcomes = _run(range(60), folder, limited)
    assert outcomes["correct"] > 9
    assert outcomes["refused"] > 18


@pytest.mark.slow
@pytest.mark.parametrize("start", range(1000, 1000 + 16 * BLOCK, BLOCK))
def test_many_cases(start: int, folder: Folder, limited: Callable[[], None]) -> None:
    outcomes = _run(range(start, start + BLOCK), folder, limited)
    assert outcomes["correct"] > BLOCK // 10
    assert outcomes["unwritable"] < BLOCK // 10
