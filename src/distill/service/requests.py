"""The body of a request: JSON that is checked for its shape alone, since a bundle checks the values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from distill.errors import DataError

RANKING_SCORE, LOGITS = "ranking_score", "logits"
_SCORE_KEYS = ("request", "candidates", "items", "fields", "missing", "version")
_TOP_KEYS = ("k", "rerank")
_NAMED_IN_ERRORS = 20


@dataclass(frozen=True)
class Limits:
    """Sizes of a request.

    Attributes:
        candidates: At most.
        top_k: Largest k.
    """

    candidates: int
    top_k: int


@dataclass(frozen=True)
class ScoreRequest:
    """What /score and /top_k are asked.

    Attributes:
        request: Raw column to its value.
        candidates: Raw column to the values of all candidates, all of one length.
        items: Raw keys of the candidates.
        count: Candidates.
        k: How many of the best are wanted; None for all.
        fields: What is said of each: `ranking_score`, `logits`, tasks; None for the score and all tasks.
        skip_missing: Whether items without a vector are left out; else they are an error.
        version: Of the model that is to answer; None for the current one.
        rerank: Whether the best are re-ranked, if the bundle says how.
    """

    request: Mapping[str, Any]
    candidates: Mapping[str, list[Any]]
    items: list[Any] | None
    count: int
    k: int | None
    fields: Sequence[str] | None
    skip_missing: bool
    version: str | None
    rerank: bool

    @classmethod
    def of(cls, body: bytes, limits: Limits, is_top: bool) -> ScoreRequest:
        """Reads the body of /score, or of /top_k.

        Raises:
            DataError: It is not JSON, a key is not known, or a value is not of its kind.
        """
        given = read_object(body, (*_SCORE_KEYS, *_TOP_KEYS) if is_top else _SCORE_KEYS)
        candidates = read_columns(given.get("candidates") or {}, "candidates", limits.candidates)
        items = _keys(given.get("items"), limits.candidates)
        if items is None and not candidates:
            raise DataError("The request names no candidates.", where="body", expected="items, candidates or both")
        count = len(items) if items is not None else len(next(iter(candidates.values())))
        if candidates and len(next(iter(candidates.values()))) != count:
            raise DataError(
                "There is one item key for each candidate.",
                where="body, items",
                expected=f"{len(next(iter(candidates.values())))}",
                found=f"{count}",
            )
        version = given.get("version")
        return cls(
            request=_of_kind(given.get("request", {}), dict, "request", "an object of raw columns"),
            candidates=candidates,
            items=items,
            count=count,
            k=_k(given.get("k"), limits.top_k) if is_top else None,
            fields=_fields(given.get("fields")),
            skip_missing=_missing(given.get("missing", "error")) == "skip",
            version=None if version is None else _of_kind(version, str, "version", "a text"),
            rerank=_of_kind(given.get("rerank", True), bool, "rerank", "true or false"),
        )


def read_object(body: bytes, known: Sequence[str]) -> dict[str, Any]:
    """Reads a JSON object with known keys.

    Raises:
        DataError: It is none, or has others.
    """
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise DataError(
            "The body is not JSON.", where=f"body, line {error.lineno}, column {error.colno}", found=error.msg[:100]
        ) from None  # the error holds the whole body
    found: dict[str, Any] = _of_kind(given, dict, "", "an object")
    unknown = [key for key in found if key not in known]
    if unknown:
        raise DataError(
            "The body has an unknown key.",
            where="body",
            expected=", ".join(known),
            found=repr(unknown[0][:100]),
        )
    return found


def read_columns(given: Any, name: str, most: int) -> dict[str, list[Any]]:
    """Reads raw columns of candidates.

    Raises:
        DataError: They are not lists of one length, or too long.
    """
    columns: dict[str, list[Any]] = _of_kind(given, dict, name, "an object of lists")
    lengths = set()
    for column, values in columns.items():
        _of_kind(values, list, f"{name}, column {column[:100]!r}", "a list")
        lengths.add(len(values))
    if len(lengths) > 1:
        raise DataError(
            "Columns have different numbers of values.",
            where=f"body, {name}",
            expected="a value for each candidate",
            found=", ".join(f"{column[:100]}: {len(values)}" for column, values in _first(columns)),
        )
    _check_count(lengths.pop() if lengths else 0, most, name)
    return columns


def _first(columns: dict[str, list[Any]]) -> list[tuple[str, list[Any]]]:
    return list(columns.items())[:_NAMED_IN_ERRORS]


def _of_kind(value: Any, kind: type[Any], name: str, expected: str) -> Any:
    if type(value) is not kind:
        where = f"body, {name}" if name else "body"
        raise DataError("A value has the wrong type.", where=where, expected=expected, found=_kind(value))
    return value


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _check_count(count: int, most: int, name: str) -> None:
    if count > most:
        raise DataError(
            "There are more candidates than the service accepts.",
            where=f"body, {name}",
            expected=f"at most {most}",
            found=f"{count}",
        )


def _keys(given: Any, most: int) -> list[Any] | None:
    if given is None:
        return None
    keys: list[Any] = _of_kind(given, list, "items", "a list of item keys")
    _check_count(len(keys), most, "items")
    check_keys(keys)
    return keys


def check_keys(keys: Sequence[Any]) -> None:
    """Refuses item keys that are not all texts, or all integers.

    Raises:
        DataError: They are not.
    """
    kinds = set(map(type, keys))
    if not (kinds <= {int} or kinds <= {str}):
        raise DataError(
            "Item keys must be all text or all integers.",
            where="body, items",
            expected="one of the two for all",
            found=", ".join(sorted({_kind(key) for key in keys})),
        )


def _k(given: Any, most: int) -> int:
    k: int = _of_kind(given, int, "k", f"a number from 1 to {most}")
    if not 1 <= k <= most:
        raise DataError("The number k is out of bounds.", where="body, k", expected=f"1 to {most}", found=str(k))
    return k


def _fields(given: Any) -> list[str] | None:
    if given is None:
        return None
    names: list[str] = _of_kind(given, list, "fields", "a list of names")
    for name in names:
        _of_kind(name, str, "fields", "a list of names")
    return list(dict.fromkeys(names))


def _missing(given: Any) -> Literal["error", "skip"]:
    if given == "error":
        return "error"
    if given == "skip":
        return "skip"
    raise DataError("A value is not one of the options.", where="body, missing", expected="error, skip")
