"""What a model costs online: arithmetic, lookups, stored bytes, milliseconds."""

from distill.models.cost.cost import Cost, measure_cost, online_flops
from distill.models.cost.counting import Work, count_work
from distill.models.cost.random_batch import random_batch

__all__ = ["Cost", "Work", "count_work", "measure_cost", "online_flops", "random_batch"]
