"""Metrics of an evaluation, computed on the gathered rows of all ranks."""

from distill.metrics.agreement import OrderAgreement, OverlapWithColumn, OverlapWithTeacher
from distill.metrics.auc_logloss import AUCAndLogLoss
from distill.metrics.base import Metric, Sampled
from distill.metrics.evaluation import Evaluation
from distill.metrics.goal import Goal
from distill.metrics.letor import LetorNDCG
from distill.metrics.long_tail import PassedOn, PopularityBands, give_exposures
from distill.metrics.new_items import NewItems, give_known_items
from distill.metrics.pointwise import AUC, Calibration, GroupedAUC, LogLoss, Threshold
from distill.metrics.positives import MAP, MRR
from distill.metrics.ranking import NDCG, HitRate, Recall
from distill.metrics.rmse import RMSE
from distill.metrics.rows import (
    CanonicalRows,
    ScoredRows,
    canonical,
    concatenate,
    request_ids,
    request_index,
    rows_of_batch,
    teacher_rows,
)
from distill.metrics.stage_recall import StageRecall
from distill.metrics.state import MetricState
from distill.metrics.suite import MetricSuite

__all__ = [
    "AUC",
    "MAP",
    "MRR",
    "NDCG",
    "RMSE",
    "AUCAndLogLoss",
    "Calibration",
    "CanonicalRows",
    "Evaluation",
    "Goal",
    "GroupedAUC",
    "HitRate",
    "LetorNDCG",
    "LogLoss",
    "Metric",
    "MetricState",
    "MetricSuite",
    "NewItems",
    "OrderAgreement",
    "OverlapWithColumn",
    "OverlapWithTeacher",
    "PassedOn",
    "PopularityBands",
    "Recall",
    "Sampled",
    "ScoredRows",
    "StageRecall",
    "Threshold",
    "canonical",
    "concatenate",
    "give_exposures",
    "give_known_items",
    "request_ids",
    "request_index",
    "rows_of_batch",
    "teacher_rows",
]
