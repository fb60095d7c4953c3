"""The command line of `distill data`; read before anything is imported."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from distill.jobs.stored.options import read


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    return read(given, "data", ("runs", "folder of the runs that may have read them"))
