"""What a file may say: plain data, bounded, that no resolver and no import ever sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distill.errors import DataError

MAX_DEPTH = 50
MAX_VALUES = 100_000
_SCALARS = (str, int, float, bool, type(None))


def plain_data(value: Any, where: str) -> Any:
    """Copies what a file holds as dicts, lists, text, numbers, booleans and None, and refuses everything else.

    Text that a config would resolve (`${…}`) is refused too: no file of ours holds any, and a config that is put
    together from such text would execute it.

    Args:
        value: Read from a file: a model's card, a run's config, the parameters of a trial.
        where: The file and the place in it, for errors.

    Raises:
        DataError: There is another kind of value, an interpolation, a key that is not text, more than 100,000 values,
            or nesting more than 50 deep (what refers to itself is).
    """
    return _Copy(where).of(value, where, 0)


class _Copy:
    def __init__(self, source: str) -> None:
        self._source = source
        self._values = 0

    def of(self, value: Any, where: str, depth: int) -> Any:
        self._values += 1
        if depth > MAX_DEPTH or self._values > MAX_VALUES:
            raise DataError(
                "A file holds more values than distill ever writes.",
                where=self._source,
                expected=f"at most {MAX_VALUES:,} values, nested at most {MAX_DEPTH} deep",
                found="more" if self._values > MAX_VALUES else "deeper ones",
            )
        if type(value) is str:
            return _text(value, where)
        if type(value) in _SCALARS:
            return value
        if isinstance(value, Mapping):
            return {
                self._key(key, where): self.of(item, f"{where}.{key}"[:500], depth + 1) for key, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [self.of(item, f"{where}[{i}]"[:500], depth + 1) for i, item in enumerate(value)]
        raise DataError(
            "A file contains something other than plain data.",
            where=where,
            expected="text, numbers, true, false, null, lists and mappings",
            found=type(value).__name__,
        )

    def _key(self, key: Any, where: str) -> str:
        if type(key) is not str:
            raise DataError("A key is not text.", where=where, found=repr(key)[:100])
        return _text(key, where)


def _text(value: str, where: str) -> str:
    if "${" in value:
        raise DataError(
            "A file holds text that a config would execute; it is refused.",
            where=where,
            expected="text without ${",
            found=value[:200],
            remedy="Do not use this file: nothing that distill writes holds such text.",
        )
    return value
