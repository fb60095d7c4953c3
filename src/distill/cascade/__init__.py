"""The cascade as a whole: what a user gets when a student decides what the ranker sees."""

from distill.cascade.measures import Measured, Share, measure
from distill.cascade.pareto import on_front
from distill.cascade.replay import Estimate, coverage, estimate
from distill.cascade.stages import Cuts, Judged, Pages, Passed, by_rank, ranker_alone, run_stages

__all__ = [
    "Cuts",
    "Estimate",
    "Judged",
    "Measured",
    "Pages",
    "Passed",
    "Share",
    "by_rank",
    "coverage",
    "estimate",
    "measure",
    "on_front",
    "ranker_alone",
    "run_stages",
]
