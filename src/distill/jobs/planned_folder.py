"""A folder that a job fills and takes up again: it says what it is of, and anything else is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill.errors import DataError
from distill.sealed import read_sealed, write_sealed

PLAN_FILE = "plan.json"


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
