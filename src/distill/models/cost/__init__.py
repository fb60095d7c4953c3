"""What a model costs online: arithmetic, lookups, stored bytes, milliseconds."""

from distill.models.cost.cost import Cost, measure_cost, online_flops, request_milliseconds
from distill.models.cost.counting import Work, count_work
from distill.models.cost.random_batch import random_batch
from distill.models.cost.selection import selection_cost

__all__ = [
    "Cost",
    "Work",
    "count_work",
    "measure_cost",
    "online_flops",
    "random_batch",
    "request_milliseconds",
    "selection_cost",
]
