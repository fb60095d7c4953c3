"""Sums and means that do not depend on the number of threads, and values per request."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from distill.ops.segment import segment_count, segment_sum
from distill.ops.waiting import can_look

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


def running_total(values: Tensor) -> Tensor:
    """Sums the rows up to each of `values [N]` float64 in an order that depends on N and the kind of device only.

    A GPU scans a long vector in an order that changes from run to run; the columns of a matrix it does not.

    Returns:
        `[N]`, each row's own value included.
    """
    if can_look(values) or values.numel() <= _CHUNK:
        return values.cumsum(0)
    rows = pad(values, (0, -values.numel() % _CHUNK)).view(-1, _CHUNK).cumsum(1)
    before = running_total(rows[:, -1].contiguous()) - rows[:, -1]
    return (rows + before[:, None]).view(-1)[: values.numel()]


def sum_of_each(values: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """Sums rows by segment in the order of the rows, as `segment_sum` does on the CPU; a GPU would add them up there in
    an order that changes from run to run.

    Args:
        values: `[N]` float64.
        index: `[N]` int64, sorted, in `0..R-1`.
        num_segments: R.

    Returns:
        `[R]`; 0 for empty segments.
    """
    if can_look(values):
        return segment_sum(values, index, num_segments)
    lengths = count_of_each(index, num_segments)
    return torch.segment_reduce(values, "sum", lengths=lengths, unsafe=True, initial=0)


def sum_by_number(values: Tensor, number: Tensor, count: int) -> Tensor:
    """Sums rows by their number, each in the order of the rows, whatever the order of the numbers.

    Args:
        values: `[N]` float64.
        number: `[N]` int64 in `0..G-1`.
        count: G.

    Returns:
        `[G]`; 0 where there is no row.
    """
    if can_look(values):
        return segment_sum(values, number, count)
    if bool((number[1:] < number[:-1]).any()):
        number, order = number.sort(stable=True)
        values = values.index_select(0, order)
    return sum_of_each(values, number, count)


def count_of_each(index: Tensor, num_segments: int) -> Tensor:
    """Counts the rows of each segment `[R]` int64, from a sorted `index [N]`."""
    if can_look(index):
        return segment_count(index, num_segments)
    stop = torch.searchsorted(index, torch.arange(num_segments, device=index.device), right=True)
    return stop.diff(prepend=stop.new_zeros(1))


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

    def on_host(self) -> PerRequest:
        """Returns the same on the CPU."""
        return PerRequest(self.values.cpu(), self.used.cpu())

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
