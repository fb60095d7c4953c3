"""The command line of a backtest; read before anything that trains is imported."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from distill.jobs.option_values import path_here, with_overrides

ARMS = ("frozen", "daily", "scratch")


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description="Trains on the first days of a log and measures every later day: with the model of the first days "
        "(frozen), with one that goes on learning each day (daily: warm start, grown vocabularies), and with one that "
        "is trained anew on all days before (scratch).",
        epilog="Everything else is an override of the training, as after `distill train`: model=two_tower "
        "optimizer.lr=0.002. Where logs are folders or files of days: data=parquet data.schema=FILE "
        "\"data.source='logs/day=*'\". Of the generated log: data=funnel_drift.",
    )
    parser.add_argument("--first", type=int, required=True, help="number of days that the first training takes")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), help="what to compare; all by default")
    parser.add_argument("--seeds", nargs="+", type=int, help="go through all of it for each seed; mean ± deviation")
    parser.add_argument("--metric", help="of the table and the picture; by default the AUC of data.main_task")
    parser.add_argument("--out", type=path_here, required=True, help="folder of the datasets, the runs and the picture")
    return with_overrides(parser, given)
