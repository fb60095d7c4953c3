"""Checksums of Parquet files: what they see, by hand, and records of them that are none."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest

from distill.data.checksums import CHECKSUMS_FILE, digest, read_checksums
from distill.errors import DataError
from distill.sealed import write_sealed

SIZES = [(0, 4), (3, 7), (8, 0), (29, 5), (5_000, 3), (300_000, 8), (300_001, 6)]


@pytest.mark.parametrize(("size", "start"), SIZES)
def test_digest_sees_one_and_two_bits_and_the_length(size: int, start: int) -> None:
    rng = np.random.default_rng(0)
    data = rng.integers(0, 256, size, dtype=np.uint8)
    before = digest(memoryview(data), start)
    bits = range(8 * size) if size < 100 else rng.integers(0, 8 * size, 300)
    for bit in bits:
        for distance in (0, 1, 64, 8 * 4096, 8 * 4096 + 64):  # of the second bit: the same lane of another word too
            changed = data.copy()
            for place in {bit, (bit + distance) % (8 * size)}:
                changed[place // 8] ^= 1 << place % 8
            assert digest(memoryview(changed), start) != before
    assert digest(memoryview(np.append(data, np.uint8(0))), start) != before


def test_digest_sees_words_that_change_places_and_sectors_that_are_gone() -> None:
    words = np.random.default_rng(0).integers(0, 2**63, 40_000)
    before = digest(memoryview(words).cast("B"), 0)
    for one, other in ((5, 9), (5, 5 + 512), (5, 9 + 512 * 64), (0, 39_000)):
        changed = words.copy()
        changed[[one, other]] = changed[[other, one]]
        assert digest(memoryview(changed).cast("B"), 0) != before
    for start in range(0, 40_000, 64):
        changed = words.copy()
        changed[start : start + 64] = 0
        assert digest(memoryview(changed).cast("B"), 0) != before


def test_digest_by_hand() -> None:
    data = np.random.default_rng(0).integers(0, 256, 3 + 2 * 4096 + 5, dtype=np.uint8)
    words = [int.from_bytes(data[3 + 8 * i : 11 + 8 * i].tobytes(), "little") for i in range(1024)]
    rows = [sum(words[:512]), sum(words[512:])]
    columns = [one + other for one, other in zip(words[:512], words[512:], strict=True)]
    ends = zlib.crc32(data[-5:].tobytes(), zlib.crc32(data[:3].tobytes()))
    sums = [zlib.crc32(b"".join((s % 2**64).to_bytes(8, "little") for s in part), ends) for part in (rows, columns)]
    assert digest(memoryview(data), 5) == sums[0] << 32 | sums[1]
    assert digest(memoryview(data[:50]), 0) == zlib.crc32(data[:50].tobytes())


@pytest.mark.parametrize("content", [{}, {"files": []}, {"files": {"part-00000.parquet": {"blake2b": "x"}}}])
def test_records_of_another_shape_are_refused(tmp_path: Path, content: dict[str, object]) -> None:
    write_sealed(tmp_path / CHECKSUMS_FILE, content)
    with pytest.raises(DataError, match="checksums"):
        read_checksums(tmp_path)
