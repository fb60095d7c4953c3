"""What is monitored is measured and has a value, or it is said."""

from __future__ import annotations

import logging
import math
from typing import Any

import pytorch_lightning as pl

from distill.errors import ConfigError

_log = logging.getLogger(__name__)


class CheckMonitor(pl.Callback):
    """Says which metrics there are when the monitored one is not among them, and when it has no value.

    Args:
        monitor: Name of the metric that early stopping and the best checkpoint go by.
        role: Which model is trained.
    """

    def __init__(self, monitor: str, role: str) -> None:
        self.monitor = monitor
        self.role = role
        self.undefined = 0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Looks for the metric after a validation.

        Raises:
            ConfigError: It is not there.
        """
        value = validation_metric(trainer, self.monitor, "callbacks.monitor")
        if math.isfinite(value):
            return
        self.undefined += 1
        if trainer.is_global_zero:
            at = (trainer.current_epoch + 1, trainer.global_step)
            _log.warning(
                "WARNING: %s of the %s is %s after epoch %d (step %d): it is not the best, and does not end training.",
                *(self.monitor, self.role, value, *at),
            )

    def state_dict(self) -> dict[str, Any]:
        """Keeps the number of validations without a value."""
        return {"undefined": self.undefined}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on counting."""
        self.undefined = int(state_dict["undefined"])


def validation_metric(trainer: pl.Trainer, name: str, where: str) -> float:
    """Returns a metric of the last validation.

    Args:
        trainer: After a validation.
        name: Of the metric.
        where: The config key that names it, for the error.

    Raises:
        ConfigError: It is not measured.
    """
    known = sorted(known for known in trainer.callback_metrics if known.startswith("val/"))
    if name not in known:
        raise ConfigError("The monitored metric is not measured.", where=where, expected=", ".join(known), found=name)
    return float(trainer.callback_metrics[name])
