"""Where teacher signals come from."""

from distill.signals.base import SignalSource
from distill.signals.calibration import CalibratedSignals, fit_calibration
from distill.signals.checkpoint import CheckpointSignals
from distill.signals.column import ColumnSignals
from distill.signals.projected import ProjectedSignals

__all__ = [
    "CalibratedSignals",
    "CheckpointSignals",
    "ColumnSignals",
    "ProjectedSignals",
    "SignalSource",
    "fit_calibration",
]
