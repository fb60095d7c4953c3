"""Where teacher signals come from."""

from distill.signals.base import SignalSource
from distill.signals.calibration import CalibratedSignals, fit_calibration
from distill.signals.checkpoint import CheckpointSignals
from distill.signals.column import ColumnSignals

__all__ = ["CalibratedSignals", "CheckpointSignals", "ColumnSignals", "SignalSource", "fit_calibration"]
