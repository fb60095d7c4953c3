"""Metrics on tensors: vectorised, exact under ties, in float64.

Shapes: N candidates in R requests. Scores of NaN are errors. What is undefined (one class only, no rows) is NaN.
"""

from distill.metrics.functional.auc import GroupedAUC, auc, grouped_auc
from distill.metrics.functional.calibration import expected_calibration_error, pcoc
from distill.metrics.functional.kendall import PairCounts, count_pairs
from distill.metrics.functional.logloss import logloss
from distill.metrics.functional.ndcg import ndcg_per_request
from distill.metrics.functional.overlap import overlap_per_request
from distill.metrics.functional.precision import average_precision_per_request, reciprocal_rank_per_request
from distill.metrics.functional.recall import hit_rate_per_request, recall_per_request
from distill.metrics.functional.reduce import PerRequest
from distill.metrics.functional.threshold import ThresholdScores, precision_recall_f1
from distill.metrics.functional.ties import TiedRanks, TieOrder, order_by, tied_ranks
from distill.metrics.functional.topk import membership, topk_membership

__all__ = [
    "GroupedAUC",
    "PairCounts",
    "PerRequest",
    "ThresholdScores",
    "TieOrder",
    "TiedRanks",
    "auc",
    "average_precision_per_request",
    "count_pairs",
    "expected_calibration_error",
    "grouped_auc",
    "hit_rate_per_request",
    "logloss",
    "membership",
    "ndcg_per_request",
    "order_by",
    "overlap_per_request",
    "pcoc",
    "precision_recall_f1",
    "recall_per_request",
    "reciprocal_rank_per_request",
    "tied_ranks",
    "topk_membership",
]
