"""Config values of every type for the reader and the split: a ConfigError that names the key, or a value in range."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from distill.data.split import ColumnSplit, RandomSplit, TimeSplit, UserTimeSplit
from distill.data.stream import StreamOrder
from distill.errors import ConfigError

NOT_INTEGERS: list[Any] = [1.5, "x", "1", float("nan"), float("inf"), None, True, [], {}, 2**70, -1]
NOT_SHARES: list[Any] = [0, 1, -0.1, 1.5, "0.1", float("nan"), float("inf"), None, True, [], 2**70]


@pytest.mark.parametrize("value", NOT_INTEGERS, ids=repr)
@pytest.mark.parametrize("key", ["batch_candidates", "shuffle_buffer", "num_shards", "seed"])
def test_order(key: str, value: Any) -> None:
    order = {"batch_candidates": 4, "shuffle_buffer": 4, "num_shards": 1, "seed": 0, "shuffle": True}
    with pytest.raises(ConfigError, match=rf"data\.loader\.{key}|where: +seed"):
        StreamOrder(**{**order, key: value})


@pytest.mark.parametrize("value", NOT_SHARES, ids=repr)
@pytest.mark.parametrize("key", ["val", "test"])
@pytest.mark.parametrize("rule", [TimeSplit, UserTimeSplit, RandomSplit])
def test_shares(rule: Callable[..., object], key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=r"data\.adapter\.split"):
        rule(**{key: value})


@pytest.mark.parametrize("value", NOT_INTEGERS, ids=repr)
def test_seed_of_a_split(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"data\.adapter\.split\.seed"):
        RandomSplit(seed=value)


@pytest.mark.parametrize("value", [None, "", 1, True, []], ids=repr)
def test_column_of_a_split(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"data\.adapter\.split\.column"):
        ColumnSplit(value)
