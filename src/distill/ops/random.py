"""Random numbers that depend on what they are for, and on nothing that was drawn before."""

from __future__ import annotations

import torch
from torch import Tensor

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def hashed_uniform(keys: Tensor, *salts: int) -> Tensor:
    """Draws a number in [0, 1) for each key, the same for the same key and salts on every device.

    Args:
        keys: `[N]` int64.
        *salts: What else the draw depends on, such as a seed and a step.

    Returns:
        `[N]` float64.

    Reference: SplitMix64: Steele et al., "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
    """
    salt = 0
    for value in salts:
        salt = _mixed_number((salt + value + _GOLDEN) & _MASK)
    bits = _mixed(_mixed(keys + _signed(salt)) + _signed(_GOLDEN))
    return (_shifted(bits, 11)).to(torch.float64) * 2.0**-53


def _mixed(x: Tensor) -> Tensor:
    x = (x ^ _shifted(x, 30)) * _signed(_FIRST)
    x = (x ^ _shifted(x, 27)) * _signed(_SECOND)
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, by: int) -> Tensor:
    """Shifts to the right, zeros coming in (torch copies the sign)."""
    return (x >> by) & ((1 << (64 - by)) - 1)


def _mixed_number(x: int) -> int:
    x = ((x ^ (x >> 30)) * _FIRST) & _MASK
    x = ((x ^ (x >> 27)) * _SECOND) & _MASK
    return x ^ (x >> 31)


def _signed(x: int) -> int:
    return x - (1 << 64) if x >= 1 << 63 else x
