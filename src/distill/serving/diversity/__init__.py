"""Diversity after the ranking score: greedy re-ranking by MMR, DPP and quotas, and measures of it, in NumPy alone."""

from distill.serving.diversity.measures import alpha_ndcg, category_coverage, intra_list_distance
from distill.serving.diversity.options import Quota, Rerank
from distill.serving.diversity.quotas import Limit
from distill.serving.diversity.select import by_quotas, dpp, mmr

__all__ = [
    "Limit",
    "Quota",
    "Rerank",
    "alpha_ndcg",
    "by_quotas",
    "category_coverage",
    "dpp",
    "intra_list_distance",
    "mmr",
]
