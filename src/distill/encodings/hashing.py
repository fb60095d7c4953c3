"""A stable 64-bit hash of integers and strings, vectorised over Arrow buffers.

The same value has the same hash on every machine and in every version: hashed keys and hash buckets are on disk.
Integers go through the finaliser of SplitMix64. Strings are hashed in little-endian words of eight bytes with the
block function of MurmurHash3 (x64) and the same finaliser; the last word is padded with zeros, the length mixed in.
Strings of more than 1024 bytes are hashed by BLAKE2b (RFC 7693) to eight bytes, at the speed of C.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa

UInt64 = npt.NDArray[np.uint64]

_U = np.uint64
_MULTIPLY_1 = _U(0x87C37B91114253D5)
_MULTIPLY_2 = _U(0x4CF5AD432745937F)
_ADD = _U(0x52DCE729)
_GAMMA = _U(0x9E3779B97F4A7C15)
_GAMMA_INT, _MASK = int(_GAMMA), 2**64 - 1
_WORD = 8
_LONGEST_BY_WORDS = 1024


def mix64(values: npt.NDArray[np.int64] | npt.NDArray[np.uint64], seed: int = 0) -> UInt64:
    """Hashes 64-bit integers (SplitMix64: add a multiple of the golden ratio, then the finaliser).

    Args:
        values: Any shape; signed integers by their two's complement.
        seed: Another seed is another hash function.

    Returns:
        Same shape, uint64.
    """
    with np.errstate(over="ignore"):
        hashed: UInt64 = values.astype(np.uint64) + _GAMMA * _U((seed + 1) % 2**64)
        hashed = (hashed ^ (hashed >> _U(30))) * _U(0xBF58476D1CE4E5B9)
        hashed = (hashed ^ (hashed >> _U(27))) * _U(0x94D049BB133111EB)
        hashed ^= hashed >> _U(31)
    return hashed


def hash_strings(array: pa.Array) -> UInt64:
    """Hashes the UTF-8 bytes of a string array `[n]`; nulls hash like empty strings."""
    count = len(array)
    _, offset_buffer, data_buffer = array.buffers()
    if count == 0 or data_buffer is None or data_buffer.size == 0:
        return mix64(np.zeros(count, np.uint64))
    offsets = np.frombuffer(offset_buffer, np.int32)[array.offset : array.offset + count + 1].astype(np.int64)
    start, length = offsets[:-1], np.diff(offsets)
    if array.null_count:
        length = np.where(array.is_valid().to_numpy(zero_copy_only=False), length, 0)
    data = np.frombuffer(data_buffer, np.uint8)
    is_long = length > _LONGEST_BY_WORDS
    hashed = _hash_words(data, start, np.where(is_long, 0, length))
    for i in np.flatnonzero(is_long):
        digest = hashlib.blake2b(data[start[i] : start[i] + length[i]].data, digest_size=_WORD).digest()
        hashed[i] = int.from_bytes(digest, "little")
    return hashed


def hash_integer(value: int) -> int:
    """Hashes one integer of 64 bits, as `mix64` does an array."""
    hashed = (value + _GAMMA_INT) & _MASK
    hashed = ((hashed ^ (hashed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    hashed = ((hashed ^ (hashed >> 27)) * 0x94D049BB133111EB) & _MASK
    return hashed ^ (hashed >> 31)


def hash_text(value: str) -> int:
    """Hashes one string, as `hash_strings` does an array."""
    data = value.encode()
    if len(data) > _LONGEST_BY_WORDS:
        return int.from_bytes(hashlib.blake2b(data, digest_size=_WORD).digest(), "little")
    hashed = 0
    for start in range(0, len(data), _WORD):
        word = (int.from_bytes(data[start : start + _WORD], "little") * 0x87C37B91114253D5) & _MASK
        word = (((word << 31) | (word >> 33)) * 0x4CF5AD432745937F) & _MASK
        hashed ^= word
        hashed = (((hashed << 27) | (hashed >> 37)) * 5 + 0x52DCE729) & _MASK
    return hash_integer(hashed ^ len(data))


def hash_values(array: pa.Array) -> UInt64:
    """Hashes an int64 or string array without nulls `[n]`."""
    if pa.types.is_string(array.type):
        return hash_strings(array)
    return mix64(array.to_numpy(zero_copy_only=False))


def _hash_words(data: npt.NDArray[np.uint8], start: npt.NDArray[np.int64], length: npt.NDArray[np.int64]) -> UInt64:
    """Hashes byte ranges of `data`, one word of all ranges at a time; ranges that have ended drop out."""
    low, high = int(start.min()), int((start + length).max())
    padded = np.zeros(high - low + _WORD, np.uint8)
    padded[: high - low] = data[low:high]
    # One (unaligned) word at every byte position, without copying.
    words = np.ndarray((high - low + 1,), dtype="<u8", buffer=padded.data, strides=(1,))
    hashed = np.zeros(len(start), np.uint64)
    active = np.flatnonzero(length > 0)
    position = start[active] - low
    left = length[active]
    with np.errstate(over="ignore"):
        while len(active):
            word = words[position].astype(np.uint64)
            unused = (_U(_WORD) - np.minimum(left, _WORD).astype(np.uint64)) * _U(8)
            word &= _U(0xFFFFFFFFFFFFFFFF) >> unused
            hashed[active] = _absorb(hashed[active], word)
            keep = left > _WORD
            active, position, left = active[keep], position[keep] + _WORD, left[keep] - _WORD
    return mix64(hashed ^ length.astype(np.uint64))


def _absorb(hashed: UInt64, word: UInt64) -> UInt64:
    word = word * _MULTIPLY_1
    word = ((word << _U(31)) | (word >> _U(33))) * _MULTIPLY_2
    hashed = hashed ^ word
    hashed = (hashed << _U(27)) | (hashed >> _U(37))
    mixed: UInt64 = hashed * _U(5) + _ADD
    return mixed
