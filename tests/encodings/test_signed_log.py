"""The signed log of counts is looked up, with the bits of computing it."""

from __future__ import annotations

import numpy as np
import pytest

from distill.encodings import numbers
from distill.encodings.numbers import signed_log
from distill.encodings.values import Float64

COUNTS = np.random.default_rng(0).permutation(1 << 16).astype(np.float64)


def computed(values: Float64) -> Float64:
    return np.copysign(np.log1p(np.abs(values)), values)


@pytest.mark.parametrize("last", [0.0, -0.0, 65535.0, 65536.0, 2.5, -3.0, 1e99])
def test_every_count_and_what_is_none(last: float) -> None:
    values = np.append(COUNTS, last)
    assert signed_log(values).tobytes() == computed(values).tobytes()


def test_counts_are_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers, "_logs_of_counts", lambda: np.full(1 << 16, 7.0))
    assert (signed_log(COUNTS) == 7.0).all()
    for others in (COUNTS + 0.5, -COUNTS, COUNTS[:100], np.append(COUNTS, -0.0), np.append(COUNTS, 65536.0)):
        assert not (signed_log(others) == 7.0).any()
