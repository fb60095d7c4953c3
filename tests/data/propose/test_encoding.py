"""Kind and encoding of a column."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from distill.data.propose.encoding import MANY, buckets_for, choose
from distill.data.propose.values import Values

RNG = np.random.default_rng(0)
SKEWED = np.exp(RNG.normal(0, 2, 500))
EVEN = RNG.normal(0, 1, 500)
NOW = datetime(2025, 3, 1)


def chosen(name: str, values: Any, is_key: bool = False) -> tuple[str | None, dict[str, Any], bool]:
    one = Values(name, pa.array(values))
    found = choose(one, one, is_key)
    assert found.why or not found.left_out
    return found.kind, found.settings, found.left_out


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("brand", ["a", "b", "a"], ("id", {}, False)),
        ("flag_x", [True, False], ("id", {}, False)),
        ("hour", [0, 13, 23], ("id", {"encoding": {"type": "ids", "size": 24}}, False)),
        ("hour", [0, 13, 24], ("id", {}, False)),
        ("category_id", [1.0, None, 90_000.0], ("id", {}, False)),
        ("x", range(33), ("number", {}, False)),
        ("x", range(32), ("id", {}, False)),
        ("num_x", [0, 1, 2], ("number", {}, False)),
        ("x", [k * 10**9 for k in range(50)], ("id", {}, False)),
        ("x", [k * 99 for k in range(50)], ("number", {}, False)),
        ("x", SKEWED, ("number", {"encoding": "log"}, False)),
        ("x", SKEWED - 1, ("number", {"encoding": "log"}, False)),
        ("x", SKEWED - 50, ("number", {}, False)),
        ("x", EVEN, ("number", {}, False)),
        ("x", [0.5, float("nan"), 0.7], ("number", {"nan": "missing"}, False)),
        ("x", [0.5, float("inf"), 0.7], ("number", {}, True)),
        ("x", [3, 3], ("id", {}, True)),
        ("x", ["a", None], ("id", {}, False)),
        ("x", [1.5, None], ("number", {}, True)),
        ("x", pa.nulls(3), ("id", {}, True)),
        ("x", [NOW, NOW + timedelta(1)], ("number", {}, True)),
        ("updated_ts", [1_740_000_000, 1_740_000_100], ("number", {}, True)),
        ("x", pa.array([1, 2], pa.duration("s")), (None, {}, True)),
        ("x", [[1, 2], [3]], ("sequence", {"max_length": 2}, False)),
        ("x", [["a"], [], None], ("sequence", {"max_length": 1}, False)),
        ("x", [[0.5, 1.0], [2.0, 3.0], None], ("vector", {"width": 2}, False)),
        ("x", [[0.5, float("nan")], [2.0, 3.0]], ("vector", {"width": 2, "nan": "missing"}, False)),
        ("x", [[0.5], [2.0, 3.0]], (None, {}, True)),
        ("x", [[NOW], []], (None, {}, True)),
        ("x", [[], []], ("sequence", {}, True)),
    ],
)
def test_kind_and_encoding(name: str, values: Any, expected: tuple[str | None, dict[str, Any], bool]) -> None:
    assert chosen(name, values) == expected


def test_max_length_is_the_99th_percentile_of_the_lengths() -> None:
    lists = [[1] * 3] * 990 + [[1, 2] * 50] * 10
    assert chosen("x", lists)[1] == {"max_length": 4}  # 3 + (100 − 3)·0.01, rounded up


def test_what_nearly_every_row_has_for_itself_is_left_out_unless_it_is_a_key() -> None:
    own = [f"v{i}" for i in range(1000)]
    assert chosen("x", own) == ("id", {}, True)
    assert chosen("x", own, is_key=True) == ("id", {}, False)
    assert chosen("x", own[:900]) == ("id", {}, False)  # too few to tell


def test_text_of_several_words_is_text_unless_there_are_few_texts() -> None:
    texts = [f"v{i} of{' many' * (i // 45)} words" for i in range(50)]
    assert chosen("x", texts) == ("text", {"max_length": 4}, False)
    assert chosen("x", texts, is_key=True) == ("id", {}, False)
    assert chosen("x", texts[:49]) == ("id", {}, False)  # too few to tell
    assert chosen("x", texts[:4] * 20) == ("id", {}, False)
    many = [f"v{i} x" for i in range(MANY + 1)]
    assert chosen("x", many) == ("text", {"encoding": {"type": "hash", "buckets": 1 << 18}, "max_length": 2}, False)


def test_very_many_values_are_hashed() -> None:
    values = np.tile(np.arange(MANY + 1), 2) * 10**6
    assert chosen("x", values) == ("id", {"encoding": {"type": "hash", "buckets": 1 << 18}}, False)
    assert [buckets_for(n) for n in (100, 128, 10**9)] == [256, 256, 1 << 22]
