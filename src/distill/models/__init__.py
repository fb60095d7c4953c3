"""Rankers and pre-rankers: `forward(batch) -> RankerOutput`."""

from distill.models.prerankers.two_tower import TwoTower
from distill.models.rankers.dcn_v2 import DCNV2

__all__ = ["DCNV2", "TwoTower"]
