"""Whether the gradients of a step are finite, at the cost of one pass over them and one look at a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from distill.features import sharded_tables


class StepGradients:
    """The gradients of a model after a backward pass: of dense parameters, of the touched rows of tables, and those
    that sharded tables keep to themselves.

    Args:
        module: The model, whose parameters stay the same ones.
    """

    def __init__(self, module: nn.Module) -> None:
        self._parameters = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        self._sharded = sharded_tables(module)

    @property
    def are_shared(self) -> bool:
        """Whether the model has sharded tables, whose ranks act together."""
        return bool(self._sharded)

    def values(self) -> dict[str, Tensor]:
        """Returns the gradients by name of their parameter; of a table, those of its touched rows."""
        found = {}
        for name, parameter in self._parameters:
            if (gradient := parameter.grad) is not None:
                found[name] = gradient._values() if gradient.is_sparse else gradient
        for name, tables in self._sharded.items():
            found |= {f"{name}.{width}.{n}": kept for width, n, kept in tables.pending_gradients()}
        return found


def all_finite(tensors: Sequence[Tensor]) -> bool:
    """Says whether all values are finite.

    It adds all of them up: infinite and NaN ones leave no finite sum, and reading one number is the only wait. A sum
    of finite values that overflows is told apart by looking at every value.

    Args:
        tensors: Of one device, any shapes.
    """
    if not tensors:
        return True
    total = torch.stack([tensor.detach().sum(dtype=_wide(tensor)) for tensor in tensors]).sum()
    return bool(total.isfinite()) or all(bool(tensor.isfinite().all()) for tensor in tensors)


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)


def non_finite(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Returns the names of tensors with values that are not finite, and how many of how many."""
    counts = {name: int((~tensor.isfinite()).sum()) for name, tensor in tensors.items()}
    return {name: f"{count} of {tensors[name].numel()}" for name, count in counts.items() if count}
