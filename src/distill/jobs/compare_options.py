"""The command line of a comparison; read before anything that compares is imported."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from distill.jobs.option_values import path_here


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Compares runs: mean ± deviation over seeds, costs, gap recovered.")
    parser.add_argument("runs", nargs="+", type=path_here, help="run folders, or folders with runs anywhere below")
    parser.add_argument("--metrics", nargs="+", help="metrics to show; by default the main ones")
    parser.add_argument("--sort", help="metric to sort by, the best first; the largest, where neither is better")
    parser.add_argument("--different-data", action="store_true", help="compare also runs on different data")
    parser.add_argument("--out", type=path_here, help="folder for comparison.json, .md and .png, and report.html")
    return parser.parse_args(given)
