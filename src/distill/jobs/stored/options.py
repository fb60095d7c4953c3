"""The command lines of `distill data` and `distill cache`; read before anything is imported."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from distill.jobs.option_values import path_here

_AGE = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def read(given: Sequence[str] | None, what: str, beside: tuple[str, str]) -> argparse.Namespace:
    """Reads a command line.

    Args:
        given: Its words; those of the program if None.
        what: `data` or `cache`.
        beside: The other folder that is looked into, and what for.
    """
    parser = argparse.ArgumentParser(description=f"Lists and deletes what jobs keep below paths.{what}.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ls|rm")
    ls = actions.add_parser("ls", help="lists it: size, last use, source, runs")
    rm = actions.add_parser("rm", help="deletes what is named, or was not used for long; nothing that a job uses")
    rm.add_argument("names", nargs="*", metavar="NAME", help="names as ls shows them, or patterns such as 'shop-*'")
    rm.add_argument("--older", type=_age, metavar="AGE", help="only what was not used for so long: 12h, 30d, 8w")
    rm.add_argument("--dry-run", action="store_true", help="say what would be deleted, and delete nothing")
    for action in (ls, rm):
        action.add_argument(
            "--folder", type=path_here, default=Path(what), help=f"as paths.{what} names it; by default {what}"
        )
        name, says = beside
        action.add_argument(f"--{name}", type=path_here, default=Path(name), help=f"{says}; by default {name}")
        action.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(given)


def _age(text: str) -> float:
    found = _AGE.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"an age such as 12h, 30d or 8w is needed, not {text!r}")
    return float(found[1]) * _SECONDS[found[2]]
