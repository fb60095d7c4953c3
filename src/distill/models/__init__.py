"""Rankers and pre-rankers: `forward(batch) -> RankerOutput`."""

from distill.models.prerankers.two_tower import TwoTower
from distill.models.rankers.interaction import InteractionRanker
from distill.models.rankers.lr import LogisticRegression

__all__ = ["InteractionRanker", "LogisticRegression", "TwoTower"]
