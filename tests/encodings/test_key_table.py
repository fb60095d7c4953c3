"""Keys are found where a dictionary finds them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.encodings import key_table
from distill.encodings.key_table import KeyTable

INTEGERS = st.one_of(st.integers(-5, 30), st.integers(-(2**63), 2**63 - 1))


@given(st.lists(INTEGERS, max_size=40, unique=True), st.lists(INTEGERS, max_size=40))
def test_integers(keys: list[int], others: list[int]) -> None:
    check(keys, [*others, *keys[::2]], pa.int64())


@given(st.lists(st.text(max_size=9), max_size=40, unique=True), st.lists(st.text(max_size=9), max_size=40))
def test_texts(keys: list[str], others: list[str]) -> None:
    check(keys, [*others, *keys[::2]], pa.string())


@pytest.mark.parametrize("step", [1, 3, 5, 1000])
def test_many(step: int) -> None:
    keys = list(range(-7, 20_000 * step - 7, step))
    check(keys, [*range(-20, 3000), keys[-1], keys[-1] + 1], pa.int64())
    check([f"item {key}" for key in keys], [f"item {key}" for key in range(-20, 3000)], pa.string())


def check(keys: list[Any], wanted: list[Any], kind: pa.DataType) -> None:
    place = {key: position for position, key in enumerate(keys)}
    found = KeyTable(pa.array(keys, kind)).find(pa.array(wanted, kind))
    assert found.tolist() == [place.get(key, -1) for key in wanted]


def test_texts_of_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_table, "hash_strings", lambda texts: np.zeros(len(texts), np.uint64))
    assert KeyTable(pa.array(["a"])).find(pa.array(["b", "a"])).tolist() == [-1, 0]
