"""The command line of schemas; read before anything that reads files is imported."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from distill.jobs.option_values import path_here, source_here

_SAYS = (
    "Proposes a schema.yaml from raw files by types, names, ranges and numbers of values; comments say what to check."
)


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Makes schemas of raw files.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="init")
    init = actions.add_parser("init", help="proposes a schema.yaml from raw files", description=_SAYS)
    init.add_argument(
        "files",
        nargs="+",
        type=source_here,
        metavar="FILES",
        help="files, folders or patterns, of any kind that is read",
    )
    init.add_argument(
        "--out", type=path_here, default=Path("schema.yaml"), help="file to write; by default schema.yaml"
    )
    init.add_argument("--rows", type=_rows, default=200_000, help="most rows to look at, of at most eight files")
    init.add_argument("--name", help="name of the dataset; by default that of the first file")
    init.add_argument("--force", action="store_true", help="overwrite the file")
    init.add_argument(
        "--no-check",
        dest="check",
        action="store_false",
        help="do not check all files against the schema (text files are read through for it)",
    )
    return parser.parse_args(given)


def _rows(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a number of rows from 1 on is needed, not {text!r}")
    return int(text)
