"""Non-linearities by name."""

from __future__ import annotations

from typing import Literal

from torch import nn

from distill.errors import ConfigError

Activation = Literal["identity", "relu", "leaky_relu", "prelu", "gelu", "silu", "sigmoid", "tanh"]

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "prelu": nn.PReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
}


def make_activation(name: Activation) -> nn.Module:
    """Returns an elementwise non-linearity; that of `prelu` has one learned slope, 0.25 at first.

    Raises:
        ConfigError: There is none of this name.
    """
    if name not in _ACTIVATIONS:
        raise ConfigError("Unknown activation.", expected=", ".join(_ACTIVATIONS), found=str(name))
    return _ACTIVATIONS[name]()
