"""Cuts normalised text into words and n-grams: on the bytes of whole columns, and of one text at a request's speed.

Which characters are in words is asked of RE2 (letters L, marks M and numbers N of Unicode) for text beyond ASCII alone.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from distill.encodings.arrow import Bool, Int64
from distill.schema import Tokens

_Parts = TypeVar("_Parts", str, list[str])
Bytes = npt.NDArray[np.uint8]

_ASCII_WORD = {"words": r"[0-9A-Za-z_]+", "whitespace": r"[^\t-\r ]+"}
# White_Space of Unicode beyond ASCII: no version has changed it since 6.3.
_BETWEEN = {
    "words": r"[^\x00-\x7F\p{L}\p{M}\p{N}]",
    "whitespace": r"[\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}]",
}
_FIRST, _LAST = ord("<"), ord(">")


def normalised(texts: pa.Array, tokens: Tokens) -> pa.Array:
    """Normalises text without nulls `[n]` as `Tokens` says; characters between words beyond ASCII become spaces."""
    rule = "whitespace" if tokens.split == "whitespace" else "words"
    is_ascii = pc.string_is_ascii(texts)
    if not pc.all(is_ascii).as_py():
        others = pc.invert(is_ascii)
        texts = pc.replace_with_mask(texts, others, _of_unicode(texts.filter(others), tokens, _BETWEEN[rule]))
    elif tokens.lowercase:
        return pc.ascii_lower(texts)
    return pc.utf8_lower(texts) if tokens.lowercase else texts


def _of_unicode(texts: pa.Array, tokens: Tokens, between: str) -> pa.Array:
    texts = _in_form(texts, "NFKC")
    if tokens.strip_accents:
        bare = pc.replace_substring_regex(_in_form(texts, "NFKD"), pattern=r"\p{Mn}", replacement="")
        texts = _in_form(bare, "NFKC")
    return pc.replace_substring_regex(texts, pattern=between, replacement=" ")


def _in_form(texts: pa.Array, form: Literal["NFKC", "NFKD"]) -> pa.Array:
    """Normalises by Python: `pc.utf8_normalize` of Arrow 19 does not compose."""
    return pa.array([unicodedata.normalize(form, text) for text in texts.to_pylist()], pa.string())


def cut(texts: pa.Array, tokens: Tokens, most: int | None) -> tuple[pa.Array, Int64]:
    """Cuts normalised text.

    Args:
        texts: From `normalised` `[n]`.
        tokens: Words or n-grams.
        most: Only so many first tokens of a text are kept.

    Returns:
        The tokens of all texts, one text after the other (those of characters as a dictionary array), and the number of
        each `[n]`.
    """
    assert tokens.ngram_range is not None
    words = _find_words(texts, "whitespace" if tokens.split == "whitespace" else "words")
    if tokens.split == "characters":
        return _of_words(words, tokens.ngram_range, most, len(texts))
    if tokens.ngram_range != (1, 1):
        return _ngrams(_spaced(words), tokens.ngram_range, most, len(texts))
    kept = _first_of_rows(words.rows, most, len(texts))
    return _slices(words.data, words.starts[kept], words.ends[kept]), np.bincount(
        words.rows[kept], minlength=len(texts)
    )


def cut_ascii(text: str, tokens: Tokens) -> list[str]:
    """Cuts one text of ASCII, as `normalised` and `cut` do with a column."""
    assert tokens.ngram_range is not None
    low, high = tokens.ngram_range
    words = _PATTERNS["whitespace" if tokens.split == "whitespace" else "words"].findall(
        text.lower() if tokens.lowercase else text
    )
    if tokens.split == "characters":
        return [token for word in words for token in _all_ngrams(f"<{word}>", low, high)]
    return words if high == 1 else [" ".join(part) for part in _all_ngrams(words, low, high)]


_PATTERNS = {rule: re.compile(pattern) for rule, pattern in _ASCII_WORD.items()}


def _all_ngrams(units: _Parts, low: int, high: int) -> list[_Parts]:
    if len(units) < low:
        return [units] if units else []
    return [units[i : i + n] for i in range(len(units)) for n in range(low, min(high, len(units) - i) + 1)]


@dataclass(frozen=True)
class _Units:
    """Words of rows, or letters of words: what n-grams are made of.

    Attributes:
        data: Bytes in which those of an n-gram are one range.
        starts: First byte of each `[U]`.
        ends: The byte behind each `[U]`.
        rows: Row of each `[U]`, ascending.
        whole: Number of the row or word that no n-gram goes beyond `[U]`, ascending.
    """

    data: Bytes
    starts: Int64
    ends: Int64
    rows: Int64
    whole: Int64


def _find_words(texts: pa.Array, rule: str) -> _Units:
    data, offsets = _bytes_of(texts)
    inside = _IN_WORDS[rule][data]
    before, behind = np.zeros((2, len(inside)), np.bool_)
    before[1:], behind[:-1] = inside[:-1], inside[1:]
    rows_with_text = np.flatnonzero(np.diff(offsets))
    before[offsets[rows_with_text]] = False  # words end with their text
    behind[offsets[rows_with_text + 1] - 1] = False
    starts, ends = np.flatnonzero(inside & ~before), np.flatnonzero(inside & ~behind) + 1
    rows = np.searchsorted(offsets, starts, side="right") - 1
    return _Units(data, starts, ends, rows, rows)


def _in_words(rule: str) -> Bool:
    """Says of each byte whether it is of a word; bytes beyond ASCII are, since nothing else is left of them."""
    pattern = _PATTERNS[rule]
    return np.array([byte >= 128 or pattern.fullmatch(chr(byte)) is not None for byte in range(256)])


_IN_WORDS = {rule: _in_words(rule) for rule in _PATTERNS}


def _bytes_of(texts: pa.Array) -> tuple[Bytes, Int64]:
    """Returns the bytes of a string array without nulls `[n]`, and where each begins and the last ends `[n + 1]`."""
    _, offset_buffer, data_buffer = texts.buffers()
    if len(texts) == 0 or data_buffer is None:
        return np.zeros(0, np.uint8), np.zeros(len(texts) + 1, np.int64)
    offsets = np.frombuffer(offset_buffer, np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    return np.frombuffer(data_buffer, np.uint8)[offsets[0] : offsets[-1]], offsets - offsets[0]


def _spaced(words: _Units) -> _Units:
    """Puts one space behind each word."""
    data, starts, sizes = _copied(words, 0, 1)
    data[starts + sizes] = ord(" ")
    return _Units(data, starts, starts + sizes, words.rows, words.rows)


def _letters(words: _Units) -> _Units:
    """Puts marks around each word, and returns its letters and marks."""
    data, starts, sizes = _copied(words, 1, 1)
    data[starts - 1], data[starts + sizes] = _FIRST, _LAST
    begins = np.flatnonzero((data & 0xC0) != 0x80)  # other bytes continue a character of UTF-8
    word = np.searchsorted(starts - 1, begins, side="right") - 1
    return _Units(data, begins, np.append(begins[1:], len(data)), words.rows[word], word)


def _copied(words: _Units, before: int, behind: int) -> tuple[Bytes, Int64, Int64]:
    """Copies words one after the other with room around each; returns the bytes, and start and size of each word."""
    sizes = words.ends - words.starts
    room = sizes + before + behind
    starts = np.cumsum(room) - room + before
    data = np.zeros(int(room.sum()), np.uint8)
    data[_ranges(starts, sizes)] = words.data[_ranges(words.starts, sizes)]
    return data, starts, sizes


def _ngrams(units: _Units, ngram_range: tuple[int, int], most: int | None, rows: int) -> tuple[pa.Array, Int64]:
    low, high = ngram_range
    first = np.searchsorted(units.whole, units.whole, side="left")
    length = np.searchsorted(units.whole, units.whole, side="right") - first
    place = np.arange(len(units.whole)) - first
    counts = np.maximum(0, np.minimum(high, length - place) - low + 1)
    counts[(length < low) & (place == 0)] = 1
    begin = np.repeat(np.arange(len(counts)), counts)
    size = np.minimum(length[begin], low + np.arange(len(begin)) - np.repeat(np.cumsum(counts) - counts, counts))
    of_row = units.rows[begin]
    kept = _first_of_rows(of_row, most, rows)
    begin, size = begin[kept], size[kept]
    tokens = _slices(units.data, units.starts[begin], units.ends[begin + size - 1])
    return tokens, np.bincount(of_row[kept], minlength=rows)


def _of_words(words: _Units, ngram_range: tuple[int, int], most: int | None, rows: int) -> tuple[pa.Array, Int64]:
    """Cuts each distinct word once: a column has far fewer of them than words."""
    found = _slices(words.data, words.starts, words.ends).dictionary_encode()
    data, offsets = _bytes_of(found.dictionary)
    numbers = np.arange(len(found.dictionary))
    tokens, sizes = _ngrams(
        _letters(_Units(data, offsets[:-1], offsets[1:], numbers, numbers)), ngram_range, None, len(numbers)
    )
    tokens = tokens.dictionary_encode()
    word = found.indices.to_numpy(zero_copy_only=False)
    of_row = np.repeat(words.rows, sizes[word])
    kept = _first_of_rows(of_row, most, rows)
    places = _ranges((np.cumsum(sizes) - sizes)[word], sizes[word])[kept]
    indices = tokens.indices.to_numpy(zero_copy_only=False)[places]
    cut_once = pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), tokens.dictionary)
    return cut_once, np.bincount(of_row[kept], minlength=rows)


def _first_of_rows(rows: Int64, most: int | None, count: int) -> Bool | slice:
    """Says which of the values of rows (ascending) are among the first `most` of their row."""
    if most is None:
        return slice(None)
    lengths = np.bincount(rows, minlength=count)
    if len(lengths) == 0 or int(lengths.max()) <= most:
        return slice(None)
    kept: Bool = np.arange(len(rows)) - (np.cumsum(lengths) - lengths)[rows] < most
    return kept


def _ranges(starts: Int64, sizes: Int64) -> Int64:
    """Returns the numbers of all ranges, one range after the other."""
    ends = np.cumsum(sizes)
    numbers: Int64 = np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(starts - (ends - sizes), sizes)
    return numbers


def _slices(data: Bytes, starts: Int64, ends: Int64) -> pa.Array:
    """Returns ranges of bytes as text."""
    sizes = ends - starts
    offsets = np.zeros(len(sizes) + 1, np.int32)
    np.cumsum(sizes, out=offsets[1:])
    content = data[_ranges(starts, sizes)]
    return pa.StringArray.from_buffers(len(sizes), pa.py_buffer(offsets), pa.py_buffer(content))
