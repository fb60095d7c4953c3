"""Where teacher signals come from."""

from distill.signals.base import SignalSource
from distill.signals.checkpoint import CheckpointSignals
from distill.signals.column import ColumnSignals

__all__ = ["CheckpointSignals", "ColumnSignals", "SignalSource"]
