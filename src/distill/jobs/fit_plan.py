"""What a fit is told, and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.signals import SignalSource
from distill.training.callbacks import Ending


@dataclass(frozen=True)
class Cotraining:
    """The teacher that learns in the same steps.

    Attributes:
        net, loss: Its configs.
        privileged: Whether it sees privileged fields.
        share_embeddings: Whether it uses the student's embedding tables.
        own_embeddings: Fields that each of the two has tables of its own for nevertheless.
    """

    net: Mapping[str, Any]
    loss: Mapping[str, Any]
    privileged: bool
    share_embeddings: bool
    own_embeddings: tuple[str, ...]


@dataclass(frozen=True)
class FitPlan:
    """What to train and how.

    Attributes:
        role: teacher | control | student; also the name in logs.
        net: Config of the model.
        loss, optimizer, scheduler: Configs of those parts.
        sampling: Configs of its samplers.
        max_epochs: How often the training split is read.
        serving: Whether the model must not see privileged fields.
        taught: Whether the loss or the sampling reads teacher signals.
        cotraining: The teacher that learns in the same steps, if any.
    """

    role: str
    net: Mapping[str, Any]
    loss: Mapping[str, Any]
    sampling: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    scheduler: Mapping[str, Any]
    max_epochs: int
    serving: bool
    taught: bool
    cotraining: Cotraining | None = None

    def key(self, part: str) -> str:
        """Where the config describes a part of this model: `loss`, or `teacher.loss`."""
        return f"teacher.{part}" if self.role == "teacher" else part


@dataclass(frozen=True)
class Signals:
    """Where a fit finds its teacher: beside the data (`reader`: "dataset" or a folder) or in the step (`model`).

    Attributes:
        reader: Given to the reader, or None.
        source: Gives the signals of a batch.
        privileged: Whether the source wants batches with privileged fields.
        probabilities: Whether its logits are those of labels, rather than of an order alone.
    """

    reader: str | None
    source: SignalSource
    privileged: bool = False
    probabilities: bool = True


@dataclass(frozen=True)
class FitResult:
    """A trained model.

    Attributes:
        checkpoint: The best by the monitored metric.
        parameters: Number of weights.
        seconds: Of training, validation included.
        epochs: Trained.
        steps: Optimiser steps.
        ending: Why it ended, and which checkpoint was the best.
    """

    checkpoint: Path
    parameters: int
    seconds: float
    epochs: int
    steps: int
    ending: Ending
