"""Losses: pure functions, weighted terms, and their sum."""

from distill.losses.adapter import TeacherAdapter
from distill.losses.composite import CompositeLoss
from distill.losses.gradnorm import GradNorm
from distill.losses.schedule import Constant, Cosine, Linear, Schedule, Warmup
from distill.losses.setting import LossSetting, TaskInfo
from distill.losses.terms.base import LossInputs, LossTerm, TermSums

__all__ = [
    "CompositeLoss",
    "Constant",
    "Cosine",
    "GradNorm",
    "Linear",
    "LossInputs",
    "LossSetting",
    "LossTerm",
    "Schedule",
    "TaskInfo",
    "TeacherAdapter",
    "TermSums",
    "Warmup",
]
