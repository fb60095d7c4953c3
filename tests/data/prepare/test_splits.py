from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.data.format import SPLITS, Dataset
from distill.data.prepare.split_numbers import share_counts
from distill.data.split import ColumnSplit, RandomSplit, SplitRule, TimeSplit, UserTimeSplit
from distill.errors import DataError, SchemaError
from tests.data.prepare.builders import pairs, prepare_quietly, rows, schema_of, write
from tests.marks import slow_except

KEYS = {"request": "rid", "user": "uid", "item": "item", "time": "ts"}


def _log(times: list[Any], users: list[int] | None = None, copies: int = 1) -> dict[str, Any]:
    """One request per time, of `copies` rows each, interleaved."""
    n = len(times)
    users = users or [0] * n
    columns = {
        "rid": list(range(n)),
        "uid": users,
        "item": [1] * n,
        "price": [1.0] * n,
        "click": [0] * n,
        "ts": times,
    }
    return {name: values * copies for name, values in columns.items()}


def _splits(dataset: Dataset) -> dict[str, list[int]]:
    return {split: sorted({row["key_request"] for row in rows(dataset, split)}) for split in SPLITS}


def _prepare(tmp_path: Path, columns: dict[str, Any], split: SplitRule, layout: str = "requests") -> Dataset:
    schema = schema_of(layout=layout, keys=KEYS)
    return prepare_quietly(write(tmp_path / "raw.parquet", columns), tmp_path / "out", schema, split)


@pytest.mark.parametrize("layout", ["requests", "flat"])
def test_time_split_counts_requests(tmp_path: Path, layout: str) -> None:
    times = [5, 3, 9, 1, 7, 0, 2, 8, 4, 6]
    dataset = _prepare(tmp_path, _log(times, copies=3), TimeSplit(val=0.2, test=0.1), layout)
    found = _splits(dataset)
    assert [times[r] for r in found["test"]] == [9]
    assert sorted(times[r] for r in found["val"]) == [7, 8]
    assert len(found["train"]) == 7


def test_time_split_gives_ties_to_the_later_split(tmp_path: Path) -> None:
    times = [0, 1, 2, 3, 5, 5, 5, 8, 8, 9]
    found = _splits(_prepare(tmp_path, _log(times), TimeSplit(val=0.3, test=0.2)))
    assert found == {"train": [0, 1, 2, 3], "val": [4, 5, 6], "test": [7, 8, 9]}


def test_time_split_with_one_time_leaves_splits_empty(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"split would be empty(.|\n)*equal times"):
        _prepare(tmp_path, _log([4] * 10), TimeSplit(val=0.2, test=0.2))
    assert not (tmp_path / "out").exists()


def test_time_split_of_too_few(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="test would be empty"):
        _prepare(tmp_path, _log([1, 2, 3]), TimeSplit(val=0.5, test=0.1))


def test_user_time_split(tmp_path: Path) -> None:
    users = [1] * 10 + [2] * 4 + [3] * 1
    times = [*range(100, 90, -1), 7, 7, 7, 7, 0]
    found = _splits(_prepare(tmp_path, _log(times, users, copies=2), UserTimeSplit(val=0.25, test=0.3)))
    # User 1: floor(3.0) test, floor(5.5) − 3 val; user 2: floor(1.2) test, floor(2.2) − 1 val, ties by request id.
    assert found["test"] == [0, 1, 2, 13]
    assert found["val"] == [3, 4, 12]
    assert 14 in found["train"]


@pytest.mark.parametrize("memory_bytes", [1 << 30, 1 << 10])
def test_requests_without_a_user_are_of_nobody_else(tmp_path: Path, memory_bytes: int) -> None:
    """User 1 has three requests of their own; the request with the number 1 and three more have no user."""
    users = [1, None, 1, 1, None, None, None, 2, 2, 2]
    columns = _log(list(range(10)), users, copies=2)  # type: ignore[arg-type]
    raw = write(tmp_path / "raw.parquet", columns)
    split = UserTimeSplit(val=0.34, test=0.34)
    found = _splits(prepare_quietly(raw, tmp_path / "out", schema_of(keys=KEYS), split, memory_bytes=memory_bytes))
    assert found == {"train": [0, 1, 4, 5, 6, 7], "val": [2, 8], "test": [3, 9]}


def test_user_time_split_of_flat_rows_without_request(tmp_path: Path) -> None:
    schema = schema_of(layout="flat", keys={"user": "uid", "time": "ts"})
    raw = write(tmp_path / "raw.parquet", _log([3, 1, 2, 4], [5] * 4))
    found = _splits(prepare_quietly(raw, tmp_path / "out", schema, UserTimeSplit(0.25, 0.25)))
    assert found == {"train": [1, 2], "val": [0], "test": [3]}


def test_rules_need_their_keys(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw.parquet", _log([1, 2, 3]))
    for rule in (TimeSplit(), UserTimeSplit()):
        with pytest.raises(SchemaError, match="needs times"):
            prepare_quietly(raw, tmp_path / "out", split=rule)
    schema = schema_of(keys={"request": "rid", "time": "ts"})
    with pytest.raises(SchemaError, match="needs users"):
        prepare_quietly(raw, tmp_path / "out", schema, UserTimeSplit())


@pytest.mark.parametrize("rule", [TimeSplit(0.2, 0.2), UserTimeSplit(0.2, 0.2)])
@pytest.mark.parametrize("layout", ["requests", "flat"])
def test_a_request_has_one_time(tmp_path: Path, rule: SplitRule, layout: str) -> None:
    columns = _log(list(range(10)), copies=2)
    columns["ts"] = [*range(10), *range(9), 0]
    with pytest.raises(DataError, match=r"row 19, column 'ts'(.|\n)*row 9"):
        _prepare(tmp_path, columns, rule, layout)


@pytest.mark.parametrize("layout", ["requests", "flat"])
def test_a_request_is_in_one_split(tmp_path: Path, layout: str) -> None:
    columns = pairs(part=["train", "val", "train", "train", "train", "val", "test"])
    with pytest.raises(DataError, match=r"row 1, column 'part'"):
        prepare_quietly(
            write(tmp_path / "raw.parquet", columns), tmp_path / "out", schema_of(layout=layout), ColumnSplit("part")
        )


def test_empty_split_by_column(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw.parquet", pairs(part=["train"] * 5 + ["val", "val"]))
    with pytest.raises(DataError, match=r"test split would be empty(.|\n)*2 train, 2 val, 0 test(.|\n)*'part'"):
        prepare_quietly(raw, tmp_path / "out")


@given(st.integers(0, 10_000), st.floats(0.01, 0.49), st.floats(0.01, 0.49))
def test_share_counts_leave_no_negative_val(n: int, val: float, test: float) -> None:
    num_test, num_later = share_counts(np.array([n]), val, test)
    assert 0 <= num_test[0] <= num_later[0] <= n


def test_share_counts_forgive_rounding() -> None:
    num_test, num_later = share_counts(np.array([100]), 0.01, 0.29)
    assert (num_test[0], num_later[0]) == (29, 30)


def _big_log(n: int) -> pa.Table:
    rng = np.random.default_rng(0)
    request = rng.integers(0, 700, n)
    return pa.table(
        {
            "rid": [f"r{r}" for r in request],
            "uid": request % 37,
            "ts": request * 3 % 501,
            "item": rng.integers(0, 300, n),
            "price": rng.normal(size=n),
            "click": rng.integers(0, 2, n),
        }
    )


RULES = [RandomSplit(), TimeSplit(), UserTimeSplit()]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
@pytest.mark.parametrize("layout", slow_except(["requests", "flat"], "requests"))
def test_memory_changes_nothing(tmp_path: Path, rule: SplitRule, layout: str) -> None:
    """Forty partitions and one write the same bytes; requests stay whole; candidates keep their order."""
    table = _big_log(6000)
    raw = tmp_path / "raw.parquet"
    pq.write_table(table, raw, row_group_size=1700)
    schema = schema_of(layout=layout, keys=KEYS)
    large, small = (
        prepare_quietly(raw, tmp_path / str(memory), schema, rule, memory_bytes=memory) for memory in (1 << 30, 1 << 16)
    )
    assert large.fingerprint == small.fingerprint
    assert large.manifest == small.manifest
    whole: dict[int, set[str]] = defaultdict(set)
    for split in SPLITS:
        for row in rows(large, split):
            whole[row["key_request"]].add(split)
    assert len(whole) == len(set(table["rid"].to_pylist()))
    assert all(len(splits) == 1 for splits in whole.values())


def test_candidates_keep_the_order_of_the_raw_rows(tmp_path: Path) -> None:
    table = _big_log(3000)
    raw = tmp_path / "raw.parquet"
    pq.write_table(table, raw)
    dataset = prepare_quietly(raw, tmp_path / "out", schema_of(keys=KEYS), RandomSplit(), memory_bytes=1 << 16)
    expected: dict[str, list[int]] = defaultdict(list)
    for rid, item in zip(table["rid"].to_pylist(), table["item"].to_pylist(), strict=True):
        expected[rid].append(item)
    found = [row["key_item"] for split in SPLITS for row in rows(dataset, split)]
    assert sorted(found) == sorted(expected.values())
