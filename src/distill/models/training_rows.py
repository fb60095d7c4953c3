"""Which rows a model must see in training, whatever the loss acts on."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from distill.batch import Batch
from distill.layers.batch_norm import BatchNorm


def rows_in_training(model: nn.Module, batch: Batch) -> Tensor:
    """Says which candidates a model must score in training even if no loss term acts on them.

    All that weigh something, if their values make the statistics of a batch norm; else those with a label of the log,
    if the model has a penalty over rows (`penalises_rows`); else none: such a model scores each candidate for itself.
    So a student and its control, which differ in their loss, have the same statistics and the same penalty.

    Returns:
        `[N]` bool.
    """
    if _has_batch_norm(model):
        return batch.weight > 0
    if getattr(model, "penalises_rows", False):
        return batch.labelled.any(dim=1)
    return torch.zeros_like(batch.weight, dtype=torch.bool)


_known: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def _has_batch_norm(model: nn.Module) -> bool:
    """Looks through a model once: it is asked at every step."""
    if model not in _known:
        _known[model] = any(isinstance(layer, BatchNorm) for layer in model.modules())
    return _known[model]
