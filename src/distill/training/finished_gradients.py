"""What happens to gradients between the backward pass and the update."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from distill.ops.hosts import Hosts
from distill.ops.nodes import Nodes
from distill.ops.ranks import world_size
from distill.training.held_rows import forget_gradients, held_rows
from distill.training.optim import table_parameters
from distill.training.sparse_sync import Counts, average_sparse_gradients, sum_sparse_gradients, touched_counts


class FinishedGradients:
    """Sums touched-row gradients by row, exchanges them between ranks, forgets those of rows that do not learn, and
    clips dense ones.

    Its parameters are looked for once: to walk through a model takes as long as many of its operations on a GPU.

    Args:
        module: What is trained; rows that do not learn are known.
        apart: Parts of it that are clipped for themselves: a step of the student must not shorten one of its teacher.
        clip_norm: Dense gradients are clipped to this norm; 0 switches it off.
        hosts: Those of all ranks.
        nodes: Where ranks run on several machines, these: rows are exchanged within each first.
    """

    def __init__(
        self,
        module: nn.Module,
        apart: Sequence[nn.Module],
        clip_norm: float,
        hosts: Hosts,
        nodes: Nodes | None = None,
    ) -> None:
        self._tables = table_parameters(module)
        self._held = held_rows(module)
        self._clip_norm = clip_norm
        self._hosts = hosts
        self._nodes = nodes
        others, in_tables = [list(part.parameters()) for part in apart], {id(p) for p in self._tables}
        of_others = {id(p) for params in others for p in params}
        own = [p for p in module.parameters() if id(p) not in of_others]
        self._together = [[p for p in params if id(p) not in in_tables] for params in (own, *others)]

    def sum_rows(self) -> None:
        """Gives the gradient of each table every touched row once."""
        sum_sparse_gradients(self._tables)

    def __call__(self, counts: Counts | None = None) -> Counts | None:
        """Finishes the gradients of a step.

        Args:
            counts: What it returned for another batch of the same shapes; None: the ranks tell each other.

        Returns:
            How many rows the ranks have sent of each table; None where there is one, or where that depends on values.
        """
        self.sum_rows()
        if world_size() > 1:
            if counts is None and self._nodes is None:
                counts = self._hosts.gathered(touched_counts(self._tables))
            average_sparse_gradients(self._tables, self._nodes, counts)
        forget_gradients(self._held)
        for together in self._together if self._clip_norm > 0 else ():
            dense = [p for p in together if p.grad is not None]
            if dense:  # of none, the norm would be a number made on the host
                torch.nn.utils.clip_grad_norm_(dense, self._clip_norm)
        return counts
