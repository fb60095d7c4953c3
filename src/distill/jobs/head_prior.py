"""Lets the heads of a model begin at what the training split says of each task."""

from __future__ import annotations

import math

import torch
from torch import nn

from distill.data.contents import LabelNumbers
from distill.data.format import Dataset
from distill.errors import DataError
from distill.models.cost.random_batch import random_batch
from distill.models.head_bias import start_heads_at
from distill.schema import Schema, Task


def prior_logit(task: Task, numbers: LabelNumbers) -> float:
    """Returns what a head that knows nothing of a row should say: ln((P + ½) / (N + ½)) of P positive and N other
    observed labels of a binary task, the mean label of another one; 0 without labels."""
    if task.kind == "binary":
        return math.log((numbers.positive + 0.5) / (numbers.labelled - numbers.positive + 0.5))
    return 0.0 if numbers.mean is None else numbers.mean


def start_at_prior(model: nn.Module, dataset: Dataset, schema: Schema, where: str) -> list[str]:
    """Sets the bias of the heads by the observed labels of the training split, and says so in a line.

    Args:
        model: That is to be trained.
        dataset: What it is trained on; its manifest has the counts, and no data is read.
        schema: What the model reads.
        where: The config's key, for errors.

    Raises:
        ConfigError: The model has no such bias.
        DataError: The manifest does not say which labels there are.
    """
    contents = dataset.manifest.contents
    if contents is None:
        raise DataError(
            "The manifest does not say which labels there are.",
            where=str(dataset.root),
            remedy="Prepare the data again.",
        )
    labels = contents.splits["train"].labels
    logits = [prior_logit(task, labels[task.name]) for task in schema.tasks]
    name = start_heads_at(model, torch.tensor(logits), random_batch(schema, [2, 3]), where)
    values = ", ".join(f"{task.name} {value:.3f}" for task, value in zip(schema.tasks, logits, strict=True))
    return [f"its heads begin at the labels of train ({name}: {values})."]
