"""Random numbers that depend on what they are for, and on nothing that was drawn before."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

import torch
from torch import Tensor

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def hashed_uniform(keys: Tensor, *salts: int | Tensor) -> Tensor:
    """Draws a number in [0, 1) for each key, the same for the same key and salts on every device.

    Args:
        keys: `[N]` int64.
        *salts: What else the draw depends on, such as a seed and a step; numbers, or int64 scalars where the keys are.

    Returns:
        `[N]` float64.

    Reference: SplitMix64: Steele et al., "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
    """
    bits = _mixed(_mixed(keys + _hashed(salts)) + _signed(_GOLDEN))
    return (_shifted(bits, 11)).to(torch.float64) * 2.0**-53


def hashed_bits(key: Tensor, rows: Tensor, width: int) -> Tensor:
    """Draws 16 bits for each value of some rows of a table, the same for the same key, row and column on every device.

    A hash of 64 bits gives those of four columns.

    Args:
        key: Scalar int64 on the device of the rows; another one gives other draws.
        rows: `[n]` int64.
        width: D.

    Returns:
        `[n, D]` int32, in 0..65535.

    Reference: As of `hashed_uniform`.
    """
    columns = torch.arange(-(-width // 4), device=rows.device) * _signed(_SECOND)
    places = rows.unsqueeze(1) * _signed(_GOLDEN) + columns
    bits = _mixed(places + _mixed(key + _signed(_GOLDEN))).view(torch.int16)
    return bits[:, :width].int() & 0xFFFF


def hashed_number(*salts: int) -> int:
    """Returns a signed number of 64 bits that depends on all of some numbers, in their order."""
    found = 0
    for salt in salts:
        found = _mixed_number((found + salt + _GOLDEN) & _MASK)
    return _signed(found)


def _hashed(salts: Sequence[int | Tensor]) -> int | Tensor:
    """Returns `hashed_number` of numbers of which some may be on a device."""
    numbers = list(takewhile(lambda salt: not isinstance(salt, Tensor), salts))
    found: int | Tensor = hashed_number(*(int(number) for number in numbers))
    for salt in salts[len(numbers) :]:
        found = _mixed(torch.as_tensor(salt + found) + _signed(_GOLDEN))
    return found


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
