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
from torch import nn

from distill.ops.rows import sparse_rows
from distill.training.sparse_sync import average_sparse_gradients

_WARM = 2


def main(task: dict[str, Any]) -> None:
    """Times the exchange of touched rows, and an all-reduce of the table's whole gradient and of dense weights."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{task['meet']}", rank=task["rank"], world_size=task["world"])
    generator = torch.Generator().manual_seed(task["rank"])
    table = nn.Parameter(torch.zeros(task["ids"], task["width"]))
    rows = torch.randperm(task["ids"], generator=generator)[: task["rows"]]
    values = torch.randn(len(rows), task["width"], generator=generator)
    whole, dense = torch.zeros_like(table.data), torch.zeros(task["dense"])

    def exchange() -> None:
        table.grad = sparse_rows(rows, values, table.shape)
        average_sparse_gradients([table])

    ways: dict[str, Callable[[], Any]] = {
        "touched rows": exchange,
        "whole gradient": lambda: dist.all_reduce(whole),
        "dense weights": lambda: dist.all_reduce(dense),
    }
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
