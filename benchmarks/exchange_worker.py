"""One rank of `benchmarks.exchange`: `python -m benchmarks.exchange_worker JSON`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from distill.ops.nodes import Nodes
from distill.ops.rows import sparse_rows
from distill.training.sparse_sync import average_sparse_gradients

BY_NODES = "touched rows, by nodes"
IN_TURN, TOGETHER = "dense weights, then touched rows", "dense weights and touched rows at once"
_WARM = 2


def are_nodes(world: int, nodes: int) -> bool:
    """Whether so many processes stand for so many machines with several processes each."""
    return nodes > 1 and world > nodes and world % nodes == 0


def touched(rank: int, rows: int, ids: int) -> Tensor:
    """Returns the rows that a rank touches `[rows]`, each once."""
    return torch.randperm(ids, generator=torch.Generator().manual_seed(rank))[:rows]


def main(task: dict[str, Any]) -> None:
    """Times the exchange of touched rows, and an all-reduce of the table's whole gradient and of dense weights."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{task['meet']}", rank=task["rank"], world_size=task["world"])
    table = nn.Parameter(torch.zeros(task["ids"], task["width"]))
    rows = touched(task["rank"], task["rows"], task["ids"])
    values = torch.randn(len(rows), task["width"])
    whole, dense = torch.zeros_like(table.data), torch.zeros(task["dense"])

    def exchange(nodes: Nodes | None = None) -> None:
        table.grad = sparse_rows(rows, values, table.shape)
        average_sparse_gradients([table], nodes)

    def with_dense(at_once: bool) -> None:
        work = dist.all_reduce(dense, async_op=True)
        if not at_once:
            work.wait()
        exchange()
        work.wait()

    ways: dict[str, Callable[[], Any]] = {
        "touched rows": exchange,
        "whole gradient": lambda: dist.all_reduce(whole),
        "dense weights": lambda: dist.all_reduce(dense),
        IN_TURN: lambda: with_dense(False),
        TOGETHER: lambda: with_dense(True),
    }
    if are_nodes(task["world"], task["nodes"]):
        by = Nodes.of(task["nodes"], task["rank"] * task["nodes"] // task["world"], table.device)
        ways[BY_NODES] = lambda: exchange(by)
    found = {name: _seconds(call, task["turns"]) for name, call in ways.items()}
    if task["rank"] == 0:
        Path(task["out"]).write_text(json.dumps(found), encoding="utf-8")
    dist.barrier()
    dist.destroy_process_group()


def _seconds(call: Callable[[], Any], turns: int) -> list[float]:
    """Times calls that all ranks begin together."""
    found = []
    for turn in range(-_WARM, turns):
        dist.barrier()
        start = time.perf_counter()
        call()
        if turn >= 0:
            found.append(time.perf_counter() - start)
    return found


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
