"""The command line of `distill cache`; read before anything is imported."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from distill.jobs.stored.options import read


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    return read(given, "cache", ("data", "folder of the prepared datasets that they may be of"))
