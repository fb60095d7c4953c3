"""The ranks of several machines: those of one machine, and those that have the same place in each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from distill.errors import ConfigError
from distill.ops.ranks import gather_sizes, rank, world_size

_TIMEOUT = timedelta(days=1)  # as that of all ranks together: who has died is noticed otherwise


@dataclass(frozen=True)
class Nodes:
    """Process groups of M machines (nodes) with L ranks each, as one of their ranks sees them.

    Attributes:
        inside: The L ranks of the own node.
        across: The M ranks that have the same place in their nodes.
        place: Of this rank in its node, 0 … L − 1.
        size: L.
    """

    inside: dist.ProcessGroup
    across: dist.ProcessGroup
    place: int
    size: int

    @classmethod
    def of(cls, num_nodes: int, node: int, device: torch.device) -> Nodes | None:
        """Makes the groups, together with all other ranks; None where there is one machine, or one rank on each.

        Args:
            num_nodes: M.
            node: Number of the own node.
            device: Where the ranks exchange it.

        Raises:
            ConfigError: The nodes do not run equally many ranks.
        """
        if num_nodes == 1 or world_size() == num_nodes:
            return None
        node_of = [found for (found,) in gather_sizes([node], device)]
        members = [[r for r, its in enumerate(node_of) if its == one] for one in sorted(set(node_of))]
        if len(members) != num_nodes or len({len(ranks) for ranks in members}) != 1:
            raise ConfigError(
                "Every node must run the same number of ranks.",
                where="trainer.num_nodes, trainer.devices",
                expected=f"{world_size()} ranks on {num_nodes} nodes, equally many on each",
                found=", ".join(str(len(ranks)) for ranks in members),
            )
        own = next(ranks for ranks in members if rank() in ranks)
        place = own.index(rank())
        inside = [dist.new_group(ranks, _TIMEOUT) for ranks in members][members.index(own)]
        across = [dist.new_group(list(ranks), _TIMEOUT) for ranks in zip(*members, strict=True)][place]
        return cls(inside, across, place, len(own))
