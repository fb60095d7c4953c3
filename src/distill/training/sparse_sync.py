"""Exchanges touched-row gradients between ranks: (row ids, row gradients) by all-gather.

Stock NCCL has no sparse all-reduce, so embedding tables are left out of DDP's reducer and every rank applies the same
update. Works on gloo and NCCL alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeAlias

import torch
import torch.distributed as dist
from torch import Tensor, nn

from distill.ops.nodes import Nodes
from distill.ops.ranks import begin_gather, gather_sizes, world_size
from distill.ops.rounding import computed_type
from distill.ops.rows import EqualIds, coalesced, give_gradient, is_padding, sparse_rows
from distill.ops.waiting import can_look

_LARGEST_ID = 2**31 - 1
Counts: TypeAlias = Sequence[Sequence[int]]
"""Rows that are sent, of each table on each rank: `[W][tables]`."""


def broadcast_tables(params: Iterable[nn.Parameter]) -> None:
    """Copies rank 0's rows to every rank (DDP does not, for parameters that it ignores)."""
    for param in params:
        dist.broadcast(param.data, src=0)


def sum_sparse_gradients(params: Iterable[nn.Parameter]) -> None:
    """Gives each parameter's gradient every touched row once."""
    for param in params:
        if param.grad is not None:
            param.grad = coalesced(param.grad)


def touched_counts(params: Iterable[nn.Parameter]) -> list[int]:
    """Returns how many rows a rank sends of each parameter, of whose gradient every row is summed. Nothing waits for a
    device: padding is counted, as long as there may be so many distinct rows."""
    return [0 if param.grad is None else min(param.grad._indices().shape[1], param.shape[0]) for param in params]


def average_sparse_gradients(
    params: Iterable[nn.Parameter], nodes: Nodes | None = None, counts: Counts | None = None
) -> None:
    """Replaces each parameter's gradient by the mean over ranks, the same bits on every rank.

    Each rank says once how many rows of every table it touched; then the row ids (in 32 bits where they fit) and the
    gradients of a table are gathered, filled up to the most that any rank has. Equal ids are looked for while gradients
    are on their way. Where the host may not look how many rows it touched, it sends as many as it looked up, if the
    table has so many; those behind the touched ones have an id that no row has until the ids of all ranks are one list,
    and are then padding, as `sum_rows` fills up.

    With several machines of L ranks each, a row that several ranks of a machine touched leaves it once: the ranks of a
    machine gather their rows, and each adds up those whose id is its place modulo L; ranks of the same place gather
    these sums and add them up; then the ranks of a machine gather the results. The mean is the same up to rounding,
    since it is added up in another order.

    Args:
        params: Tables.
        nodes: The machines; None: one.
        counts: `touched_counts` of all ranks, each row summed (`sum_sparse_gradients`); asked for if None, which waits
            for the device. With several machines they are asked for in any case.
    """
    tables = list(params)
    if not tables:
        return
    rows = [_Rows.of(param) for param in tables]
    if nodes is not None:
        rows = _summed(rows, nodes.inside, nodes, exact=True)
        rows = _summed(rows, nodes.across, exact=True)
    rows = _summed(rows, None, counts=counts) if nodes is None else _summed(rows, nodes.inside)
    for param, (ids, values, num_ids) in zip(tables, rows, strict=True):
        known = ids if can_look(ids) else torch.where(ids == num_ids, 0, ids)[:num_ids]
        give_gradient(param, sparse_rows(known, values[:num_ids], param.shape, coalesced=True))


class _Rows(NamedTuple):
    """Rows of a table `[V, D]`: ids `[n]`, V where there is padding; values `[n, D]`; and V."""

    ids: Tensor
    values: Tensor
    num_ids: int

    @classmethod
    def of(cls, param: nn.Parameter) -> _Rows:
        """Returns this rank's share of the mean of a gradient, each row once."""
        if param.grad is None:
            empty = torch.empty(0, dtype=torch.long, device=param.device)
            none = param.new_empty((0, *param.shape[1:]), dtype=computed_type(param.dtype))
            return cls(empty, none, param.shape[0])
        grad = coalesced(param.grad)
        ids, num_ids = grad.indices()[0], param.shape[0]
        marked = ids if can_look(ids) else ids.masked_fill(is_padding(ids), num_ids)[:num_ids]
        return cls(marked, grad.values()[:num_ids] / world_size(), num_ids)


def _summed(
    tables: Sequence[_Rows],
    group: dist.ProcessGroup | None,
    share: Nodes | None = None,
    exact: bool = False,
    counts: Counts | None = None,
) -> list[_Rows]:
    """Returns the rows of all ranks of a group, those of equal ids added up in the order of the ranks.

    Args:
        tables: The own rows, of each table.
        group: Of the ranks; None: all.
        share: Whose place modulo their number the ids are; None: all ids.
        exact: Whether the host rather waits for a device than that there is padding, which would be sent on.
        counts: Rows of each table on each rank; asked for if None.
    """
    if counts is None:
        counts = gather_sizes([len(rows.ids) for rows in tables], tables[0].ids.device, group)
    begun = []
    for table, (ids, values, num_ids) in enumerate(tables):
        sizes = [of_rank[table] for of_rank in counts]
        small = ids.int() if num_ids <= _LARGEST_ID else ids
        begun.append((begin_gather(small, sizes, group), begin_gather(values, sizes, group)))
    found = []
    for (ids_of_ranks, values_of_ranks), (_, _, num_ids) in zip(begun, tables, strict=True):
        equal = _equal_ids(torch.cat(ids_of_ranks()).long(), num_ids, share, exact)
        found.append(_Rows(equal.ids, equal.sums(torch.cat(values_of_ranks())), num_ids))
    return found


def _equal_ids(ids: Tensor, num_ids: int, share: Nodes | None, exact: bool) -> EqualIds:
    if share is None:
        return EqualIds.of(ids, num_ids + 1, exact)
    kept = (ids % share.size == share.place).nonzero().flatten()
    equal = EqualIds.of(ids.index_select(0, kept), num_ids + 1, exact)
    return replace(equal, order=kept.index_select(0, equal.order))
