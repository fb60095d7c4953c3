"""A folder that a job fills and takes up again: it says what it is of, and anything else is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from distill.errors import ConfigError, DataError
from distill.sealed import read_sealed, write_sealed

PLAN_FILE = "plan.json"
_Content = TypeVar("_Content")


def begin(root: Path, plan: Mapping[str, Any], what: str) -> None:
    """Makes the folder, or takes one up again that the same job left.

    Args:
        root: The folder.
        plan: Plain data that says what goes into it; another plan would make other files.
        what: It holds, for errors: `predictions`.

    Raises:
        DataError: It holds something else.
    """
    found = _found(root, what)
    if found is not None and found != plan:
        differ = sorted(name for name in {*found, *plan} if found.get(name) != plan.get(name))
        raise DataError(
            f"The folder holds other {what}.",
            where=str(root),
            expected=f"{what} of the same {', '.join(differ)}",
            found=", ".join(f"{name}: {str(found.get(name))[:80]}" for name in differ),
            remedy="Choose another folder (out=DIR), or delete this one.",
        )
    if found is None and root.is_dir() and any(root.iterdir()):
        raise DataError(
            f"The folder contains something other than {what}.",
            where=str(root),
            expected="an empty folder, or none",
            remedy="Choose another folder (out=DIR).",
        )
    root.mkdir(parents=True, exist_ok=True)
    if found is None:
        write_sealed(root / PLAN_FILE, plan)


def _found(root: Path, what: str) -> dict[str, Any] | None:
    try:
        return read_sealed(root / PLAN_FILE)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(
            f"The plan of {what} is damaged.",
            where=str(root / PLAN_FILE),
            found=str(error).splitlines()[0],
            remedy="Choose another folder (out=DIR), or delete this one.",
        ) from error


def read_measured(path: Path, take: Callable[[dict[str, Any]], _Content], what: str, then: str) -> _Content:
    """Reads what a job measured and sealed before.

    Args:
        path: Of the file.
        take: Makes of its content what is wanted.
        what: It holds, for errors: `The times of a backtest`.
        then: What happens if it is deleted: `the arm is run again`.

    Raises:
        DataError: It cannot be read, or `take` cannot make anything of it.
    """
    try:
        return take(read_sealed(path))
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        raise DataError(
            f"{what} cannot be read.",
            where=str(path),
            found=" ".join(str(error).split())[:200],
            remedy=f"Delete the file: {then} then.",
        ) from error


def check_seeds(seeds: Sequence[int], overrides: Sequence[str]) -> None:
    """Refuses seeds of a study that are given twice, as its own or as an override.

    Raises:
        ConfigError: They are.
    """
    if len(set(seeds)) < len(seeds) or any(override.startswith("seed=") for override in overrides):
        raise ConfigError(
            "The seeds of a study must be different and given once.",
            where="--seeds",
            expected="such as --seeds 0 1 2, without seed=",
            found=" ".join(map(str, [*seeds, *overrides])),
        )
