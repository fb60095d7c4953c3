"""The command line of starting ranks; read before anything is imported."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

OF_RANKS = ("train", "score", "predict", "evaluate", "cascade")
"""Commands whose work several ranks do together."""


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description="Starts the ranks of a command on Ray, as torchrun does on a machine: each runs the command with "
        "RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and so on, and they end together.",
    )
    parser.add_argument("--nnodes", type=_count, default=1, metavar="N", help="machines of the cluster (1)")
    parser.add_argument("--nproc-per-node", type=_count, default=1, metavar="N", help="ranks on each machine (1)")
    parser.add_argument("--cpus", type=_count, default=1, metavar="N", help="processors of each rank (1)")
    parser.add_argument("--gpus", type=_number, default=0, metavar="N", help="GPUs of each rank (0)")
    parser.add_argument(
        "--address", metavar="HOST:PORT", help="of a Ray cluster that is there, or auto; Ray starts here without"
    )
    parser.add_argument("command", choices=OF_RANKS, help="what each rank runs")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of the command")
    options = parser.parse_args(given)
    if options.nnodes > 1 and options.address is None:
        parser.error("--nnodes above 1 needs the --address of a Ray cluster")
    return options


def _count(text: str) -> int:
    number = _number(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"a number of at least 1 is needed, not {text!r}")
    return number


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"a number is needed, not {text!r}")
    return int(text)
