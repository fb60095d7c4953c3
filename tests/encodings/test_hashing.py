"""Hashed keys are on disk: these numbers must never change."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.encodings import hashing
from distill.encodings.hashing import hash_strings, hash_values, mix64

_MASK = 2**64 - 1


def _reference(text: str) -> int:
    data, hashed = text.encode(), 0
    for start in range(0, len(data), 8):
        word = int.from_bytes(data[start : start + 8], "little")
        word = word * 0x87C37B91114253D5 & _MASK
        word = ((word << 31) | (word >> 33)) * 0x4CF5AD432745937F & _MASK
        hashed ^= word
        hashed = (((hashed << 27) | (hashed >> 37)) & _MASK) * 5 + 0x52DCE729 & _MASK
    return int(mix64(np.array([hashed ^ len(data)], np.uint64))[0])


def test_frozen_hashes_of_integers() -> None:
    # The first is the published first output of SplitMix64 with seed 0.
    expected = [0xE220A8397B1DCDAF, 0x910A2DEC89025CC1, 0xE4D971771B652C20, 0xAA50EA8E0FA9EB]
    assert mix64(np.array([0, 1, -1, 2**62], np.int64)).tolist() == expected
    assert int(mix64(np.array([7]), seed=3)[0]) == 0x953AEB70673E29CB


def test_frozen_hashes_of_strings() -> None:
    texts = ["", "a", "abcdefgh", "abcdefghi", "Zürich", "x" * 100]
    expected = [
        0xE220A8397B1DCDAF,
        0xE38F1BE75F04A7AD,
        0x0B662AEA6A5E6FC6,
        0x406843C49B72A138,
        0xDADDB143F1C8AD31,
        0x412D7A27A787F380,
    ]
    assert hash_strings(pa.array(texts)).tolist() == expected


@given(st.lists(st.text(max_size=40), max_size=20), st.integers(0, 5))
def test_strings_hash_alike_one_by_one_and_sliced(texts: list[str], skip: int) -> None:
    array = pa.array(texts, pa.string()).slice(min(skip, len(texts)))
    assert hash_strings(array).tolist() == [_reference(text) for text in texts[skip:]]


def test_nulls_hash_like_empty_strings() -> None:
    assert len(set(hash_strings(pa.array([None, "", None])).tolist())) == 1


def test_trailing_zero_bytes_count() -> None:
    assert len(set(hash_strings(pa.array(["a", "a\0", "a\0\0"])).tolist())) == 3


def test_hash_values_takes_integers_and_strings() -> None:
    assert hash_values(pa.array([5])).tolist() == mix64(np.array([5])).tolist()
    assert hash_values(pa.array(["5"])).tolist() == hash_strings(pa.array(["5"])).tolist()


@pytest.mark.parametrize("buckets", [2, 10, 97])
def test_buckets_fill_evenly(buckets: int) -> None:
    hashed = hash_strings(pa.array([f"item-{i}" for i in range(20_000)]))
    counts = np.bincount((hashed % np.uint64(buckets)).astype(int), minlength=buckets)
    expected = 20_000 / buckets
    assert np.square(counts - expected).sum() / expected < buckets + 6 * np.sqrt(2 * buckets)


def test_long_strings_have_a_hash_of_their_own() -> None:
    long = "x" * 1_000_000
    hashed = hash_strings(pa.array([long, None, "a", long + "y", "x" * 1024, "x" * 1025])).tolist()
    assert hashed[0] == 0x7B044A90F36143A5
    assert len(set(hashed)) == 6
    assert hashed[2] == 0xE38F1BE75F04A7AD
    assert hashed[4] == _reference("x" * 1024)
    assert hash_strings(pa.array(["b", long]).slice(1)).tolist() == hashed[:1]


def test_the_cost_of_a_long_string_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = []
    absorb = hashing._absorb
    monkeypatch.setattr(hashing, "_absorb", lambda *words: rounds.append(1) or absorb(*words))
    hash_strings(pa.array(["x" * 10_000_000, "x" * 1024]))
    assert len(rounds) == 1024 // 8
