"""Rounding to bfloat16 at random, against what it must be in expectation."""

from __future__ import annotations

import torch
from torch import Tensor

from distill.ops.random import hashed_bits
from distill.ops.rounding import computed_type, stochastically_rounded

DRAWS = 40_000


def _rounded(value: float) -> Tensor:
    """Many draws of one value."""
    bits = hashed_bits(torch.tensor(3), torch.arange(DRAWS // 4), 4).flatten()
    return stochastically_rounded(torch.full((DRAWS,), value), bits)


def test_the_mean_is_the_value_where_the_nearest_is_not() -> None:
    for value in (1.001, 1.0039, -1.001, 3.14159, -0.0123, 1e-30, 1.2e30):
        exact, drawn = torch.tensor(value), _rounded(value)
        below, above = sorted({float(x) for x in drawn.unique()})
        assert below < float(exact) < above
        share = (float(exact) - below) / (above - below)
        tolerance = 4.5 * (above - below) * (share * (1 - share) / DRAWS) ** 0.5
        assert abs(float(drawn.double().mean()) - float(exact)) < tolerance
        assert abs(float(exact.bfloat16()) - float(exact)) > tolerance  # which this test would notice


def test_every_pattern_of_bits_rounds_its_share_up() -> None:
    """A value a quarter of the way to the next goes there for exactly a quarter of all bits."""
    bits = torch.arange(2**16, dtype=torch.int32)
    drawn = stochastically_rounded(torch.full((2**16,), 1 + 2**-9), bits)
    assert drawn.double().unique(return_counts=True)[1].tolist() == [3 * 2**14, 2**14]


def test_what_is_a_bfloat16_stays_and_so_do_values_that_are_not_finite() -> None:
    bits = torch.tensor([0, 1, 2**15, 2**16 - 1], dtype=torch.int32)
    values = torch.tensor([0.0, -0.0, 1.0, -1.5, 2.0**-130, 3.3895e38, torch.inf, -torch.inf]).bfloat16()
    for value in values:
        drawn = stochastically_rounded(value.float().expand(4), bits)
        assert torch.equal(drawn.view(torch.int16), value.expand(4).view(torch.int16))
    # The bits of NaN are many; some become infinite or 0 when something is added to them or cut off.
    patterns = torch.tensor([0x7FFFFFFF, 0x7F800001, 0x7FC00000, -1, -0x7FFFFF])
    for pattern in patterns.int():
        assert stochastically_rounded(pattern.view(torch.float32).expand(4), bits).isnan().all()


def test_the_type_to_compute_in() -> None:
    assert computed_type(torch.bfloat16) is torch.float32
    assert [computed_type(t) for t in (torch.float32, torch.float64)] == [torch.float32, torch.float64]
