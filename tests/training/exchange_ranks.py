"""Ranks that exchange touched rows over gloo: `python -m tests.training.exchange_ranks FOLDER`.

Every rank is a fork of one process that has imported torch and computed nothing. It writes FOLDER/CASE_RANK.pt: the
gradients that it has in the end, and the bytes that it received from ranks of its own node and of others.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from distill.errors import ConfigError
from distill.ops.hosts import Hosts
from distill.ops.nodes import Nodes
from distill.ops.rows import sparse_rows
from distill.training.finished_gradients import FinishedGradients
from tests.no_sync import waits

SHAPES = ((50, 4), (1000, 8), (7, 1), (30, 2))
# Case to the node of each rank. In the last, nodes of different sizes, which is refused.
CASES = {
    "two": (0, 0),
    "three": (0, 0, 0),
    "four": (0, 0, 0, 0),
    "two by two": (0, 0, 1, 1),
    "in turn": (0, 1, 0, 1),
    "one each": (0, 1, 2),
    "uneven": (0, 0, 0, 1),
}
PADDED = ("two", "three", "two by two")
"""Cases that run as on a device, too, where a host does not know how many rows it touched: CASE padded_RANK.pt."""


def gradients(rank: int) -> list[tuple[Tensor, Tensor] | None]:
    """Returns what a rank has of each table, with equal rows: many of the second, none of the third, of the first
    nothing on rank 1, and row 0 of the last on no rank."""
    drawn = torch.Generator().manual_seed(rank)
    found: list[tuple[Tensor, Tensor] | None] = []
    for table, (count, width) in enumerate(SHAPES):
        rows = (12 + rank, 300 + 40 * rank, 0, 9)[table]
        ids = torch.randint(count, (rows,), generator=drawn) ** 2 // count  # small ones are frequent
        found.append((ids, torch.randn(rows, width, generator=drawn)))
    ids, values = found[3]  # type: ignore[misc]
    return [None if rank == 1 else found[0], found[1], None, (ids.clamp(min=1), values)]


def main(folder: Path) -> int:
    """Runs all cases one after the other; returns how many ranks failed."""
    failed = 0
    for case in (*CASES, *(f"{case} padded" for case in PADDED)):
        nodes = CASES[case.removesuffix(" padded")]
        ranks = [_fork(case, rank, nodes, folder) for rank in range(len(nodes))]
        failed += sum(os.waitpid(process, 0)[1] != 0 for process in ranks)
    return failed


def _fork(case: str, rank: int, nodes: Sequence[int], folder: Path) -> int:
    process = os.fork()
    if process:
        return process
    try:
        _exchange(case, rank, nodes, folder)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _exchange(case: str, rank: int, nodes: Sequence[int], folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/{case}", rank=rank, world_size=len(nodes))
    found: dict[str, Any] = {}
    try:
        groups = Nodes.of(len(set(nodes)), nodes[rank], torch.device("cpu"))
    except ConfigError as error:
        found["refused"] = str(error)
    else:
        tables = [nn.Parameter(torch.zeros(shape)) for shape in SHAPES]
        for table, gradient in zip(tables, gradients(rank), strict=True):
            table.grad = None if gradient is None else sparse_rows(*gradient, table.shape)
        received = _counting(rank, nodes)
        with waits() if case.endswith("padded") else nullcontext([]) as waited:
            finish = FinishedGradients(nn.ParameterList(tables), (), 0.0, Hosts.joined(), groups)
            finish._tables = tables  # which are no tables of a model
            finish()
        found = {"received": received, "by_nodes": groups is not None, "waited": waited}
        found["gradients"] = [(t.grad.indices()[0], t.grad.values()) for t in tables if t.grad is not None]
    torch.save(found, folder / f"{case}_{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def _counting(rank: int, nodes: Sequence[int]) -> list[int]:
    """Returns the bytes that will have been gathered from the own node, and from others."""
    received, all_gather = [0, 0], dist.all_gather

    def counted(buffers: list[Tensor], own: Tensor, group: Any = None, async_op: bool = False) -> Any:
        for other in dist.get_process_group_ranks(group):
            if other != rank:
                received[nodes[other] != nodes[rank]] += own.numel() * own.element_size()
        return all_gather(buffers, own, group=group, async_op=async_op)

    dist.all_gather = counted
    return received


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
