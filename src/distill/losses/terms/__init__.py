"""Loss terms: weighted, scheduled modules that say on which rows and tasks they act."""

from distill.losses.terms.base import LossInputs, LossTerm, TaskInfo, TermSums
from distill.losses.terms.bernoulli_kl import BernoulliKL
from distill.losses.terms.hard_bce import HardBCE
from distill.losses.terms.mse import LogitMSE, ProbMSE
from distill.losses.terms.softmax_kl import SoftmaxKL

__all__ = [
    "BernoulliKL",
    "HardBCE",
    "LogitMSE",
    "LossInputs",
    "LossTerm",
    "ProbMSE",
    "SoftmaxKL",
    "TaskInfo",
    "TermSums",
]
