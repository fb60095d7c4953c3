"""Values that are written as text: which type fits a column of them, and their conversion to it."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

DATE, NAIVE, INSTANT = pa.date32(), pa.timestamp("us"), pa.timestamp("us", "UTC")
TIMES = (DATE, NAIVE, INSTANT)
NUMBERS = (pa.bool_(), pa.int64(), pa.uint64(), pa.float64())

NULLS = ("", "null", "NULL", "\\N")
"""Cells of a text file that are null whatever the column holds."""
WORDS_FOR_NULL = ("None", "Null", "NA", "N/A", "n/a", "<NA>", "#N/A", "NaT")
"""Words that are null in a column of numbers or times, and words in a column of text."""

DECLARED = {
    "text": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "time": INSTANT,
    "boolean": pa.bool_(),
}
"""What the types that a schema declares for raw columns are read as."""

_NO_TEXT = pa.scalar(None, pa.string())
_TRUE, _FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
_LEADING_ZERO = r"^\s*[+-]?0[0-9xX]"
_LONG_INTEGER = r"^\s*[+-]?\d{19,}\s*$"
_ZONE = r"\d[ T]\d.*(Z|[+-]\d\d(:?\d\d)?)$"
_DATE = r"^\d{4}-\d\d-\d\d$"
_FEW = 64
_BELOW_MICROSECONDS = r"(\.\d{6})\d+"


def _is_in(text: pa.Array, words: tuple[str, ...]) -> pa.Array:
    return pc.is_in(text, value_set=pa.array(words))


def without_words(text: pa.Array) -> tuple[pa.Array, int]:
    """Returns text with the words for null made null, and how many there were."""
    words = _is_in(text, WORDS_FOR_NULL)
    number = int(pc.sum(words).as_py() or 0)
    return (pc.if_else(words, _NO_TEXT, text), number) if number else (text, 0)


def convert(text: pa.Array, kind: pa.DataType) -> pa.Array:
    """Converts text to one of `NUMBERS`, `TIMES` or text, nulls kept.

    Words are truth values, and 1 and 0 as numbers; times without a zone are UTC.

    Raises:
        pa.ArrowInvalid: A value does not fit.
    """
    if pa.types.is_string(kind):
        return text
    if pa.types.is_temporal(kind):
        return text.cast(kind) if kind == DATE else to_instants(text).cast(kind)
    try:
        return text.cast(kind)
    except pa.ArrowInvalid:
        trimmed = pc.utf8_trim_whitespace(text)
        if not pa.types.is_boolean(kind):
            trimmed = pc.if_else(_is_in(trimmed, _TRUE), "1", pc.if_else(_is_in(trimmed, _FALSE), "0", trimmed))
        return trimmed.cast(kind)


def convert_declared(text: pa.Array, kind: pa.DataType) -> pa.Array:
    """Converts text to one of the types of `DECLARED`, nulls kept; integers from 2⁶³ on by their bits.

    Raises:
        pa.ArrowInvalid: A value does not fit.
    """
    try:
        return convert(text, kind)
    except pa.ArrowInvalid:
        if kind != pa.int64():
            raise
        return convert(text, pa.uint64()).view(kind)


def to_instants(text: pa.Array) -> pa.Array:
    """Converts ISO 8601 text to microseconds since 1970 UTC, zones taken into account; without a zone it is UTC.

    Raises:
        pa.ArrowInvalid: A value is no such text.
    """
    text = pc.replace_substring_regex(text, _BELOW_MICROSECONDS, r"\1")
    zoned = pc.match_substring_regex(text, _ZONE)
    naive = pc.if_else(zoned, _NO_TEXT, text).cast(NAIVE).cast(INSTANT)
    if not pc.any(zoned).as_py():
        return naive
    return pc.if_else(zoned, pc.if_else(zoned, text, _NO_TEXT).cast(INSTANT), naive)


def first_failing(length: int, works: Callable[[int, int], object]) -> int:
    """Finds the first of some values on which a conversion of all of them failed.

    Args:
        length: Values.
        works: Converts those in a range; raises ArrowInvalid if one fails.
    """
    low, high = 0, length
    while high - low > 1:
        middle = (low + high) // 2
        try:
            works(low, middle)
            low = middle
        except pa.ArrowInvalid:
            high = middle
    return low


def converted(
    array: pa.Array, convert: Callable[[pa.Array], pa.Array], failed: Callable[[int, pa.ArrowInvalid], Exception]
) -> pa.Array:
    """Converts values `[n]`, or raises what `failed` makes of the first one that cannot be converted, and of why."""
    try:
        return convert(array)
    except pa.ArrowInvalid as error:
        position = first_failing(len(array), lambda low, high: convert(array.slice(low, high - low)))
        raise failed(position, error) from error


class Evidence:
    """Which types fit all the text of a column that was seen so far.

    A column of ids is text where a value has a leading zero: `0071` and `71` are two ids. A column that must hold
    numbers takes both for 71.

    Args:
        numeric: Whether the column must hold numbers.
        may_be_time: Whether it may hold times.
        guess_nulls: Whether `WORDS_FOR_NULL` are null in a column of numbers or times.
    """

    def __init__(self, numeric: bool, may_be_time: bool, guess_nulls: bool = True) -> None:
        self._numeric = numeric
        self._guess_nulls = guess_nulls
        self._types = [*NUMBERS, *(TIMES if may_be_time else ()), *(() if numeric else (pa.string(),))]
        self._seen = False
        self.words = 0

    @property
    def kind(self) -> pa.DataType:
        """The narrowest type that fits; null if there was no value but words for null."""
        return self._types[0] if self._seen else pa.null()

    def add(self, text: pa.Array) -> None:
        """Looks at more values.

        Raises:
            pa.ArrowInvalid: The column must hold numbers, and a value is none.
        """
        if self._guess_nulls and self._types[0] != pa.string():
            text, words = without_words(text)
            self.words += words
        text = text.drop_null()
        if len(text) == 0:
            return
        self._seen = True
        if self._types[0] == pa.string():
            return
        fitting = self._fitting(text)
        if not any(kind in fitting for kind in self._types):
            convert(text, pa.float64())
            raise pa.ArrowInvalid("not a number")
        self._types = [kind for kind in self._types if kind in fitting]

    def _fitting(self, text: pa.Array) -> list[pa.DataType]:
        """The types that fit some values; wider ones are not tried where a narrower one fits."""
        fitting = [pa.string()]
        if (numbers := self._numbers(text)) or self._numeric:
            return fitting + numbers
        if pc.all(_is_in(text, (*_TRUE, *_FALSE))).as_py():
            return [*fitting, pa.bool_()]
        if DATE in self._types or NAIVE in self._types or INSTANT in self._types:
            fitting += self._times(text)
        return fitting

    def _numbers(self, text: pa.Array) -> list[pa.DataType]:
        if not self._numeric and pc.any(pc.match_substring_regex(text, _LEADING_ZERO)).as_py():
            return []
        words = pc.any(_is_in(text, (*_TRUE, *_FALSE))).as_py()
        if words and not self._numeric:
            return []
        if words and pc.all(_is_in(text, (*_TRUE, *_FALSE))).as_py():
            return [pa.bool_(), pa.float64()]
        long = not self._numeric and pc.any(pc.match_substring_regex(text, _LONG_INTEGER)).as_py()
        for kind in NUMBERS[1:3] if long else NUMBERS[1:]:  # a float would round it: two ids would be one
            if kind not in self._types:
                continue
            try:
                convert(text.slice(0, _FEW), kind)  # to fail takes a hundred times as long as to convert
                values = convert(text, kind)
            except pa.ArrowInvalid:
                continue
            if kind == pa.int64():
                return [kind, pa.float64(), *([pa.uint64()] if pc.min(values).as_py() >= 0 else [])]
            return [kind, pa.float64()]
        return []

    def _times(self, text: pa.Array) -> list[pa.DataType]:
        try:
            convert(text, INSTANT)
        except pa.ArrowInvalid:
            return []
        if pc.all(pc.match_substring_regex(text, _DATE)).as_py():
            return list(TIMES)
        return [INSTANT] if pc.any(pc.match_substring_regex(text, _ZONE)).as_py() else [NAIVE, INSTANT]
