"""The command line of the feedback study; read before anything that trains is imported."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from distill.jobs.option_values import path_here, with_overrides

_DISTILLED = (
    "teacher=column",
    "loss=listwise",
    "loss.terms.soft.tasks=[click]",
    "loss.terms.list.tasks=[click]",
    "optimizer.lr=0.003",
    "optimizer.embedding_lr=0.1",
)
_LABELS = ("loss=hard", "optimizer.lr=0.001", "optimizer.embedding_lr=0.02")


@dataclass(frozen=True)
class Arm:
    """A way to run the loop.

    Attributes:
        says: What it is, in a line.
        training: Overrides of the pre-ranker's training; None where none is trained.
        scored: Of which candidates the ranker's scores are logged.
        explores: Whether chance fills places.
        sees_all: Whether the ranker gets every candidate.
    """

    says: str
    training: tuple[str, ...] | None
    scored: Literal["passed", "all"] = "passed"
    explores: bool = False
    sees_all: bool = False


ARMS = {
    "ranker": Arm("the ranker sees every candidate", None, sees_all=True),
    "production": Arm("the generator's own pre-ranker, which does not learn", None),
    "labels": Arm("a two-tower learns from clicks on what was shown", _LABELS),
    "distilled": Arm("and from the ranker's scores of what reached it", _DISTILLED),
    "distilled-all": Arm("and from the ranker's scores of every candidate", _DISTILLED, "all"),
    "labels+explore": Arm("labels, and chance fills places", _LABELS, explores=True),
    "distilled+explore": Arm("distilled, and chance fills places", _DISTILLED, explores=True),
    "distilled-all+explore": Arm("distilled-all, and chance fills places", _DISTILLED, "all", explores=True),
}


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    listed = "; ".join(f"{name}: {arm.says}" for name, arm in ARMS.items())
    parser = argparse.ArgumentParser(
        description="Runs the synthetic cascade for several rounds: a student that learns from the log so far decides "
        "what the ranker sees, and so what the next log holds. Measures how exposures concentrate.",
        epilog=f"Arms: {listed}. Everything else is an override: data.adapter.KEY=VALUE of the world "
        "(conf/data/funnel.yaml), others of the training.",
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds after the first, which production decides")
    parser.add_argument("--requests", type=int, default=800, help="requests of a round")
    parser.add_argument("--window", type=int, default=2, help="rounds whose log a training takes")
    parser.add_argument("--explore", type=float, default=0.1, help="share of places that chance fills, where it does")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS), help="all by default")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="worlds; mean ± deviation over them")
    parser.add_argument("--out", type=path_here, required=True, help="folder of the logs, the runs and the picture")
    return with_overrides(parser, given)
