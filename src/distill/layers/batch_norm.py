"""Batch norm over the rows of all processes, for any number of rows."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from distill.ops.ranks import sum_over_ranks, world_size


class BatchNorm(nn.BatchNorm1d):
    """y = γ (x − mean) / √(var + ε) + β, with the statistics of the batch in training and running ones in evaluation.

    Two deviations from torch's layer, whose parameters and state it has. The statistics are over the rows of all
    processes, so that n of them train what one would. Fewer than two rows have none: they are normalised by the running
    statistics, which they leave as they are.

    Reference: Ioffe and Szegedy, "Batch Normalization", 2015, arXiv:1502.03167, algorithm 1.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Maps `[B, D]` to `[B, D]`."""
        if self.training and world_size() > 1:
            over_ranks: Tensor = self._over_ranks(input)
            return over_ranks
        if self.training and input.shape[0] < 2:
            return self._by_running(input)
        out: Tensor = super().forward(input)
        return out

    def _by_running(self, x: Tensor) -> Tensor:
        return functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
        )

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _over_ranks(self, x: Tensor) -> Tensor:
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        count = sum_over_ranks(values.new_tensor([values.shape[0]]))
        total = count.clamp(min=1)
        mean = sum_over_ranks(values.sum(0)) / total
        variance = sum_over_ranks((values - mean).square().sum(0)) / total
        if int(count) < 2:
            return self._by_running(x)
        self._remember(mean.detach(), variance.detach() * total / (total - 1))
        out = (values - mean) * torch.rsqrt(variance + self.eps) * self.weight + self.bias
        return out.to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        running_mean, running_var, steps = self.running_mean, self.running_var, self.num_batches_tracked
        if running_mean is None or running_var is None or steps is None or self.momentum is None:
            return
        steps += 1
        running_mean.lerp_(mean, self.momentum)
        running_var.lerp_(variance, self.momentum)
