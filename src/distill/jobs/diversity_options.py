"""The command line of the study of diversity; read before anything that trains is imported."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from distill.jobs.option_values import path_here, with_overrides


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description="What diversity costs: trains a ranker and its student in several worlds of the synthetic cascade, "
        "and fills pages by the ranker's order, quotas, MMR and DPP at several trade-offs, over the student's vectors.",
        epilog="Everything else is an override of the training, before the flags: +experiment=quickstart by default.",
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="worlds; mean ± deviation over them")
    parser.add_argument("--k", type=int, default=40, help="candidates that the student passes on")
    parser.add_argument("--ranked", type=int, default=30, help="that the ranker passes on to the page")
    parser.add_argument("--shown", type=int, default=10, help="that are shown")
    parser.add_argument("--most", type=int, default=2, help="of a category on a page, by quotas")
    parser.add_argument("--out", type=path_here, required=True, help="folder of the runs and the picture")
    options = with_overrides(parser, given)
    options.overrides = options.overrides or ["+experiment=quickstart", "trainer=cpu"]
    return options
