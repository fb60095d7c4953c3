"""Callbacks of every run: what makes an interrupted run go on exactly, and what stops a run that cannot."""

from distill.training.callbacks.carried_encodings import CarriedEncodings
from distill.training.callbacks.checkpoints import BestCheckpoint, LastCheckpoint
from distill.training.callbacks.data_wait import DataWait
from distill.training.callbacks.ending import Ending, ending_of
from distill.training.callbacks.fit_progress import FitProgress
from distill.training.callbacks.history import MetricHistory
from distill.training.callbacks.interrupt import CheckpointOnInterrupt, PlainSigterm
from distill.training.callbacks.kept_gradients import KeptGradients
from distill.training.callbacks.learning import Learning
from distill.training.callbacks.loss_log import LossLog
from distill.training.callbacks.monitor import CheckMonitor
from distill.training.callbacks.non_finite import StopOnNonFinite
from distill.training.callbacks.patience import Patience
from distill.training.callbacks.prune import PruneTrial, TrialPruned
from distill.training.callbacks.random_state import RandomState
from distill.training.callbacks.scalar_layout import ScalarLayout
from distill.training.callbacks.validated import Validated, validation_of
from distill.training.callbacks.validation_line import ValidationLine
from distill.training.callbacks.weight_average import WeightAverage

__all__ = [
    "BestCheckpoint",
    "CarriedEncodings",
    "CheckMonitor",
    "CheckpointOnInterrupt",
    "DataWait",
    "Ending",
    "FitProgress",
    "KeptGradients",
    "LastCheckpoint",
    "Learning",
    "LossLog",
    "MetricHistory",
    "Patience",
    "PlainSigterm",
    "PruneTrial",
    "RandomState",
    "ScalarLayout",
    "StopOnNonFinite",
    "TrialPruned",
    "Validated",
    "ValidationLine",
    "WeightAverage",
    "ending_of",
    "validation_of",
]
