"""How rows are divided into train, val and test; requests stay whole under every rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

from distill.checks import require_integer, require_number, require_text
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


SplitRule = Union[ColumnSplit, TimeSplit, UserTimeSplit, RandomSplit, WholeSplit]  # noqa: UP007
