"""How rows are divided into train, val and test; requests stay whole under every rule."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, Union

import pyarrow as pa

from distill.checks import require_integer, require_number, require_text
from distill.encodings.text import to_instants
from distill.errors import ConfigError


def _check_shares(val: float, test: float) -> None:
    require_number("data.adapter.split.val", val, 0, 1)
    require_number("data.adapter.split.test", test, 0, 1)
    if not (0 < val < 1 and 0 < test < 1 and val + test < 1):
        raise ConfigError(
            "The shares of val and test must be positive and leave room for train.",
            where="data.adapter.split",
            expected="0 < val, 0 < test, val + test < 1",
            found=f"val={val}, test={test}",
        )


@dataclass(frozen=True)
class ColumnSplit:
    """By a raw column that holds `train`, `val` or `test`."""

    column: str

    def __post_init__(self) -> None:
        require_text("data.adapter.split.column", self.column)


@dataclass(frozen=True)
class TimeSplit:
    """By time: the last `test` share of the requests is test, the `val` share before it val."""

    val: float = 0.1
    test: float = 0.1

    def __post_init__(self) -> None:
        _check_shares(self.val, self.test)


@dataclass(frozen=True)
class UserTimeSplit:
    """By time within each user: the last `test` share of a user's requests is test, the `val` share before it val.

    Counts are floor(share × requests of the user), so users with few requests are in train only.
    """

    val: float = 0.1
    test: float = 0.1

    def __post_init__(self) -> None:
        _check_shares(self.val, self.test)


@dataclass(frozen=True)
class RandomSplit:
    """By a seeded hash of the request id (of the row number in flat data without one)."""

    val: float = 0.1
    test: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        _check_shares(self.val, self.test)
        require_integer("data.adapter.split.seed", self.seed, least=0, most=2**63 - 2)


@dataclass(frozen=True)
class WholeSplit:
    """All rows are of one split: a new day, under encodings that are there already."""

    name: str = "test"

    def __post_init__(self) -> None:
        if self.name not in ("train", "val", "test"):
            raise ConfigError(
                "There is no such split.",
                where="data.adapter.split.name",
                expected="train, val or test",
                found=str(self.name),
            )


@dataclass(frozen=True)
class DateSplit:
    """By date: test holds the requests from one time on, val those before it from another on.

    Attributes:
        val: First date or time of val: ISO 8601 (without a zone it is UTC), or a number where the column holds numbers.
        test: First date or time of test.
        column: A raw column, or one of the names of folders; `keys.time` if None.
        unit: What the column counts since 1970, if it holds numbers and `val` and `test` are dates.
    """

    val: str | int | float | None
    test: str | int | float | None
    column: str | None = None
    unit: Literal["s", "ms", "us", "ns"] | None = None

    def __post_init__(self) -> None:
        if self.column is not None:
            require_text("data.adapter.split.column", self.column)
        if self.unit not in (None, *UNITS):
            raise ConfigError(
                "There is no such unit.",
                where="data.adapter.split.unit",
                expected=f"{', '.join(UNITS)}, or null",
                found=str(self.unit),
            )
        val, test = self._checked("val", self.val), self._checked("test", self.test)
        if (
            val is not None
            and test is not None
            and isinstance(self.val, str) == isinstance(self.test, str)
            and val >= test
        ):
            raise ConfigError(
                "Val must begin before test.",
                where="data.adapter.split.val",
                expected=f"a date before that of test, {self.test}",
                found=str(self.val),
            )

    def _checked(self, name: str, value: object) -> int | float | None:
        """Returns a boundary as a number that is comparable with the other if both are dates, or neither."""
        where = f"data.adapter.split.{name}"
        if value is None:
            return None
        if isinstance(value, str):
            return instant(value, where)
        if self.unit is not None or type(value) not in (int, float):
            expected = "a date or time in ISO 8601" + (
                ": `unit` says that the column counts since 1970" if self.unit is not None else ", or a number"
            )
            raise ConfigError(
                "A boundary of the splits is not a date.", where=where, expected=expected, found=repr(value)
            )
        assert isinstance(value, int | float)
        require_number(where, value, -(2.0**63), 2.0**63)
        return value


UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
"""Units of time in a second."""


def instant(text: str, where: str) -> int:
    """Returns ISO 8601 text in microseconds since 1970 UTC.

    Raises:
        ConfigError: It is not such text.

    >>> instant("1970-01-02T00:00:00Z", "data.adapter.split.test")
    86400000000
    """
    try:
        return int(to_instants(pa.array([text])).cast(pa.int64())[0].as_py())
    except pa.ArrowInvalid as error:
        raise ConfigError(
            "A boundary of the splits is not a date.",
            where=where,
            expected="a date or time in ISO 8601, such as 2025-03-01 or 2025-03-01T06:00:00Z",
            found=repr(text),
        ) from error


@dataclass(frozen=True)
class FileSplit:
    """By file: test and val are files of a pattern, or so many of the last files in the order of their names.

    Numbers in names are ordered by their value, and the last files of those that no pattern takes are test.
    A pattern is held against the end of the path of a file and of the folders above it, as deep as the files have a
    folder in common: `day=11` is all below such a folder, `*.val.csv` a kind of name.

    Attributes:
        val: Number of files, a pattern or several.
        test: Number of files, a pattern or several.
    """

    val: int | str | list[str] | tuple[str, ...] | None
    test: int | str | list[str] | tuple[str, ...] | None

    def __post_init__(self) -> None:
        for name, value in (("val", self.val), ("test", self.test)):
            where = f"data.adapter.split.{name}"
            if type(value) is int:
                require_integer(where, value, least=1)
            elif value is not None:
                patterns = list(value) if isinstance(value, (list, tuple)) else [value]
                if not patterns:
                    raise ConfigError("No file is named.", where=where, expected="a number of files, or patterns")
                for pattern in patterns:
                    require_text(where, pattern)


@dataclass(frozen=True)
class KFoldSplit:
    """By fold of a cross-validation: a seeded hash cuts the requests into `k` parts, and part `fold` is test.

    All values of `fold` under one seed test every request once.

    Attributes:
        k: Folds.
        fold: That is test, from 0.
        val: Share of the other requests that is val.
        seed: Of the cut.
        by: What is hashed: `request` (the row number in flat data without one) or `user`, whose requests stay together.
    """

    k: int = 5
    fold: int = 0
    val: float = 0.1
    seed: int = 0
    by: Literal["request", "user"] = "request"

    def __post_init__(self) -> None:
        require_integer("data.adapter.split.k", self.k, least=2, most=2**31 - 1)
        require_integer("data.adapter.split.fold", self.fold, least=0, most=self.k - 1)
        require_number("data.adapter.split.val", self.val, 0, 1)
        if not 0 < self.val < 1:
            raise ConfigError(
                "The share of val must be positive and leave room for train.",
                where="data.adapter.split.val",
                expected="0 < val < 1",
                found=str(self.val),
            )
        require_integer("data.adapter.split.seed", self.seed, least=0, most=2**62)
        if self.by not in ("request", "user"):
            raise ConfigError(
                "Folds cannot be cut by this.",
                where="data.adapter.split.by",
                expected="request or user",
                found=str(self.by),
            )


SplitRule = Union[  # noqa: UP007
    ColumnSplit, TimeSplit, UserTimeSplit, RandomSplit, WholeSplit, DateSplit, FileSplit, KFoldSplit
]


def split_columns(rule: SplitRule) -> tuple[str, ...]:
    """Returns the raw columns that a rule names."""
    column = rule.column if isinstance(rule, ColumnSplit | DateSplit) else None
    return () if column is None else (column,)


def check_cuts(rule: SplitRule, given: Collection[str]) -> None:
    """Checks that a rule can cut val and test from the training files, but for those that have files of their own.

    Args:
        rule: How to divide the training files.
        given: Splits that have files of their own.

    Raises:
        ConfigError: It cannot, or a date or pattern is given of a split that has files, or of one that needs it none.
    """
    wanted = [name for name in ("val", "test") if name not in given]
    if (
        given
        and wanted
        and (isinstance(rule, ColumnSplit | WholeSplit) or (isinstance(rule, KFoldSplit) and "test" in given))
    ):
        raise ConfigError(
            f"This rule cannot split off {' and '.join(wanted)} from the training files.",
            where="data.adapter.split",
            expected="time, user_time, random, dates or files; k_fold where test has no files of its own",
            found=type(rule).__name__,
            remedy=f"Choose another with split@data.adapter.split=…, or name files of {wanted[0]} in data.source too.",
        )
    if not isinstance(rule, DateSplit | FileSplit):
        return
    for name in ("val", "test"):
        value = getattr(rule, name)
        if (value is None) == (name in wanted):
            raise ConfigError(
                f"Nothing says what {name} is." if value is None else f"Two things say what {name} is.",
                where=f"data.adapter.split.{name}",
                expected=("a date" if isinstance(rule, DateSplit) else "a number of files, or patterns")
                if value is None
                else f"null, or no data.source.{name}",
                found=str(value) if value is not None else "null",
            )
