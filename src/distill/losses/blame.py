"""Which term of a loss sends gradients that are not finite, found by computing each term alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from distill.losses.composite import CompositeLoss
from distill.losses.terms.base import LossInputs


def non_finite_gradients(loss: CompositeLoss, inputs: LossInputs, parameters: Sequence[nn.Parameter] = ()) -> list[str]:
    """Names the terms, and penalties of the model, whose own gradient is not finite.

    A term's gradient is that of its weighted mean with respect to the model's outputs, and to what the term reaches by
    itself: its own parameters, and the item tower of `inputs`. If none is named, the gradients become infinite on their
    way back through the model. Denominators are those of this process's rows.

    Args:
        loss: Set up.
        inputs: Of the step.
        parameters: Of the model.

    Returns:
        Names as in the report of the loss, in its order.
    """
    inputs = loss.adapted(inputs)
    own = inputs.output
    taught = None if own.taught is None else _leaf(own.taught)
    outputs = replace(own, logits=_leaf(own.logits), hidden=_leaves(own.hidden), taught=taught)
    apart = replace(inputs, output=replace(outputs, penalties={}))
    ways = [
        outputs.logits,
        *([] if taught is None else [taught]),
        *outputs.hidden.values(),
        *(p for p in (*loss.parameters(), *parameters) if p.requires_grad),
    ]
    bad = []
    for name, term in loss.named_terms().items():
        weight = term.weight.value(inputs.step)
        if weight != 0 and not _is_finite(weight * term(apart).mean(), ways):
            bad.append(name)
    for name, penalty in inputs.output.penalties.items():
        if not _is_finite(penalty.mean(), [p for p in parameters if p.requires_grad]):
            bad.append(f"penalty_{name}")
    return bad


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_()


def _leaves(hidden: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: _leaf(vector) for name, vector in hidden.items()}


def _is_finite(value: Tensor, ways: Sequence[Tensor]) -> bool:
    if not value.requires_grad:
        return True
    found = torch.autograd.grad(value, ways, retain_graph=True, allow_unused=True)
    dense = [g._values() if g.is_sparse else g for g in found if g is not None]
    return all(bool(g.isfinite().all()) for g in dense)
