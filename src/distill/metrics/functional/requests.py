"""The requests of a table, and what every order within them needs: found once, however many orders there are.

N candidates in R requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from distill.errors import DataError
from distill.metrics.functional.reduce import count_of_each

SCORE_BITS = 32
KEY_BITS = 63


@dataclass(frozen=True)
class Requests:
    """Which candidates belong together.

    Attributes:
        index: `[N]` int64, sorted, in `0..R-1`: the request of each candidate.
        num_requests: R; requests without candidates are allowed.
    """

    index: Tensor
    num_requests: int

    @cached_property
    def is_sorted(self) -> bool:
        """Whether the candidates of a request come together."""
        return not bool((self.index[1:] < self.index[:-1]).any())

    def require_sorted(self) -> None:
        """Raises `DataError` unless the index is sorted."""
        if not self.is_sorted:
            raise DataError(
                "The candidates of a request are not contiguous.",
                expected="a sorted request index",
                found="an index that decreases",
                remedy="Order the rows with distill.metrics.rows.canonical.",
            )

    @cached_property
    def size(self) -> Tensor:
        """Candidates of each request `[R]` int64."""
        return count_of_each(self.index, self.num_requests)

    @cached_property
    def stop(self) -> Tensor:
        """The row behind the last of each request `[R]` int64."""
        return self.size.cumsum(0)

    @cached_property
    def start_of_row(self) -> Tensor:
        """The first row of the request of each row `[N]` int64."""
        return (self.stop - self.size).index_select(0, self.index)

    @cached_property
    def place_bits(self) -> int:
        """Bits that tell the rows of a request apart."""
        return int(self.size.max()).bit_length() if self.index.numel() else 0

    @cached_property
    def fit_one_key(self) -> bool:
        """Whether request, score and place within the request are one integer of 63 bits."""
        return self.num_requests.bit_length() + SCORE_BITS + self.place_bits <= KEY_BITS

    @cached_property
    def key(self) -> Tensor:
        """That integer, with nothing in the bits of the score `[N]` int64."""
        place = torch.arange(self.index.numel(), device=self.index.device).sub_(self.start_of_row)
        return (self.index << (SCORE_BITS + self.place_bits)).bitwise_or_(place)
