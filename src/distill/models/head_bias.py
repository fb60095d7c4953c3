"""Where the heads of a model begin: at the log odds of each task, before anything is learned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from distill.batch import Batch, RankerOutput
from distill.errors import ConfigError
from distill.models.prerankers.fitted import FittedPreRanker
from distill.models.task_order import TaskOrder

_TOLERANCE = 1e-4  # of logits: a sum rounds
_ORDER = "task_order"


@torch.no_grad()
def start_heads_at(model: nn.Module, logits: Tensor, batch: Batch, where: str) -> str:
    """Sets the bias of a model's heads, in place, to logits that it is to begin with; other weights stay.

    The bias is found by what it does, so that a model need not say where it is: the weights `[K]`, named a bias, of
    which each adds itself to the logit of its task. A second head for the teacher begins like the first. Where a later
    task is a product of probabilities, its head begins at the share of the earlier one (see `TaskOrder.head_logits`).

    Args:
        model: Any that is trained in steps.
        logits: Of the tasks `[K]`.
        batch: To run the model on; in evaluation mode, and nothing of it stays.
        where: The config's key, for errors.

    Returns:
        Name of the bias.

    Raises:
        ConfigError: The model has no such bias, or is not trained in steps.
    """
    if isinstance(model, FittedPreRanker):
        raise _cannot(model, where, "it is fitted in one pass, which does not depend on where it begins")
    mode, order = model.training, getattr(model, _ORDER, None)
    if isinstance(order, TaskOrder):
        logits = order.head_logits(logits)
    try:
        with _without_order(model):
            name, bias = _bias_of(model.eval(), batch, where)
    finally:
        model.train(mode)
    bias.copy_(logits.repeat(bias.numel() // logits.numel()))
    return name


@contextmanager
def _without_order(model: nn.Module) -> Iterator[None]:
    """Lets a model say its heads' own logits."""
    order = getattr(model, _ORDER, None)
    if not isinstance(order, TaskOrder):
        yield
        return
    setattr(model, _ORDER, None)
    try:
        yield
    finally:
        setattr(model, _ORDER, order)


def _bias_of(model: nn.Module, batch: Batch, where: str) -> tuple[str, nn.Parameter]:
    before = _logits(model(batch))
    step = torch.arange(1, before.shape[1] + 1, dtype=before.dtype) / 2
    for name, parameter in model.named_parameters():
        if "bias" not in name.rsplit(".", 1)[-1] or parameter.shape != step.shape:
            continue
        kept = parameter.clone()
        parameter.add_(step)
        moved = _logits(model(batch)) - before
        parameter.copy_(kept)
        if bool(((moved - step).abs() <= _TOLERANCE).all()):
            return name, parameter
    raise _cannot(model, where, "no weight of it is added to the logit of each task")


def _logits(output: RankerOutput) -> Tensor:
    """All logits: of a second head too."""
    return output.logits if output.taught is None else torch.cat([output.logits, output.taught], dim=1)


def _cannot(model: nn.Module, where: str, found: str) -> ConfigError:
    return ConfigError(
        "The heads of this model cannot start at the rates of the labels.",
        where=where,
        expected="a model of which a bias is added to the logit of each task",
        found=f"{type(model).__name__}: {found}",
        remedy=f"Set {where}=default, or take another model.",
    )
