"""Rankers and pre-rankers: `forward(batch) -> RankerOutput`."""

from distill.models.prerankers.dat import DAT
from distill.models.prerankers.fit import FIT
from distill.models.prerankers.int_tower import IntTower
from distill.models.prerankers.late_mlp import LateMLP
from distill.models.prerankers.logistic import Logistic
from distill.models.prerankers.parallel_two_tower import ParallelTwoTower
from distill.models.prerankers.split_towers import SplitTowers
from distill.models.prerankers.three_tower import ThreeTower
from distill.models.prerankers.two_tower import TwoTower
from distill.models.rankers.interaction import InteractionRanker
from distill.models.rankers.lr import LogisticRegression

__all__ = [
    "DAT",
    "FIT",
    "IntTower",
    "InteractionRanker",
    "LateMLP",
    "Logistic",
    "LogisticRegression",
    "ParallelTwoTower",
    "SplitTowers",
    "ThreeTower",
    "TwoTower",
]
