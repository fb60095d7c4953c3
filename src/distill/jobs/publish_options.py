"""The command line of publishing; read before anything is imported."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from distill.jobs.option_values import path_here


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description="Publishes a folder of this machine, such as a prepared dataset, signals, a bundle or a run: its "
        "files first, then a manifest with their hashes. Commands take its URI in place of the folder.",
    )
    parser.add_argument("folder", type=path_here, help="the folder")
    parser.add_argument("uri", help="where to, such as s3://BUCKET/FOLDER")
    parser.add_argument("--replace", action="store_true", help="replace what is published there")
    return parser.parse_args(given)
