"""What the hosts of all ranks say to each other, so that none of them waits for its device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist

from distill.ops.ranks import world_size

_TIMEOUT = timedelta(days=1)  # as that of all ranks together: who has died is noticed otherwise


@dataclass(frozen=True)
class Hosts:
    """Exchanges a few numbers between the hosts of all ranks; each of them must make the same calls in the same order.

    Attributes:
        group: Of all ranks, for tensors of a CPU; None: that of the run, which is one, or there is one process.
    """

    group: dist.ProcessGroup | None = None

    @classmethod
    def joined(cls) -> Hosts:
        """Makes the group, together with all other ranks, if that of the run is for devices (NCCL)."""
        if world_size() == 1 or dist.get_backend() == "gloo":
            return cls()
        return cls(dist.new_group(timeout=_TIMEOUT, backend="gloo"))

    def gathered(self, numbers: Sequence[int]) -> list[list[int]]:
        """Returns the numbers of every rank, in rank order."""
        own = np.array(numbers, np.int64)
        if world_size() == 1:
            return [own.tolist()]
        found = np.empty((world_size(), len(own)), np.int64)
        dist.all_gather([torch.from_numpy(of_rank) for of_rank in found], torch.from_numpy(own), group=self.group)
        numbers_of_ranks: list[list[int]] = found.tolist()
        return numbers_of_ranks

    def greatest(self, numbers: Sequence[int]) -> list[int]:
        """Returns the greatest of each number on any rank."""
        found = np.array(numbers, np.int64)
        if world_size() > 1:
            dist.all_reduce(torch.from_numpy(found), dist.ReduceOp.MAX, group=self.group)
        greatest: list[int] = found.tolist()
        return greatest

    def all(self, value: bool) -> bool:
        """Returns whether something holds on all ranks."""
        return self.greatest([int(not value)]) == [0]
