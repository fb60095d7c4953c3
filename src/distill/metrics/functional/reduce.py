"""Sums and means that do not depend on the number of threads, and values per request."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

_CHUNK = 1024


def total(values: Tensor) -> Tensor:
    """Sums `values [N]` in float64 in an order that depends on N only.

    `Tensor.sum` splits a vector by the number of threads, which changes the last bits; rows of a fixed length do not.

    Returns:
        Scalar float64; 0 for no values.
    """
    partial = values.to(torch.float64)
    while partial.numel() > 1:
        partial = pad(partial, (0, -partial.numel() % _CHUNK)).view(-1, _CHUNK).sum(1)
    return partial.reshape(-1)[0] if partial.numel() else partial.new_zeros(())


def weighted_mean(values: Tensor, weight: Tensor | None) -> Tensor:
    """Averages `values [N]` with `weight [N]` (or alike): scalar float64, NaN when the weights sum to 0."""
    if weight is None:
        return total(values) / values.numel() if values.numel() else total(values) / 0
    return total(values.to(torch.float64) * weight) / total(weight)


@dataclass(frozen=True)
class PerRequest:
    """One value per request, with the requests where it is not defined or would say nothing masked out.

    Attributes:
        values: `[R]` float64; NaN where not `used`.
        used: `[R]` bool.
    """

    values: Tensor
    used: Tensor

    @staticmethod
    def of(values: Tensor, used: Tensor) -> PerRequest:
        """Builds it from `values [R]`, replacing those that are not `used [R]` by NaN."""
        return PerRequest(torch.where(used, values.to(torch.float64), float("nan")), used)

    def where(self, used: Tensor) -> PerRequest:
        """Leaves out requests that are not `used [R]` bool."""
        return PerRequest.of(self.values, self.used & used)

    def minus(self, other: PerRequest) -> PerRequest:
        """Differences of two numbers of the same requests; used are the requests that have both."""
        return PerRequest.of(self.values - other.values, self.used & other.used)

    @property
    def value(self) -> Tensor:
        """The mean: scalar float64."""
        return self.mean()

    @property
    def num_used(self) -> int:
        """Requests that count."""
        return int(self.used.sum())

    @property
    def num_skipped(self) -> int:
        """Requests that do not."""
        return self.used.numel() - self.num_used

    def mean(self) -> Tensor:
        """Averages over used requests, each alike: scalar float64, NaN when there is none."""
        return weighted_mean(self.values[self.used], None)

    def standard_error(self) -> Tensor:
        """Standard error of the mean, requests taken as independent: scalar float64, NaN below two used requests."""
        used = self.values[self.used]
        squares = total((used - self.mean()).square())
        return (squares / (self.num_used - 1) / self.num_used).sqrt()
