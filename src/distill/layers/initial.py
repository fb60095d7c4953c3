"""Initial values of weights that are several matrices in one tensor."""

from __future__ import annotations

import math

import torch
from torch import Tensor


@torch.no_grad()
def xavier_uniform_(weight: Tensor, fan_in: int, fan_out: int) -> None:
    """Draws a weight from U(−a, a), a = √(6 / (fan_in + fan_out)), in place.

    Args:
        weight: Any shape, of one or several matrices with the same fans.
        fan_in: Inputs of one matrix.
        fan_out: Outputs of one matrix.

    Reference: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010,
    eq. 16.
    """
    bound = math.sqrt(6 / (fan_in + fan_out))
    weight.uniform_(-bound, bound)
