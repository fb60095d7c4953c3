"""One process of `test_state.py`: `python gloo_worker.py <rank> <world size> <folder>` writes its results as JSON."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from conftest import make_table
from test_suite import TASKS, every_metric

from distill.errors import DataError
from distill.metrics import MetricState, MetricSuite, ScoredRows

SIZES = [7, 1, 12, 3, 5, 9, 2, 30, 4, 4, 6]


def shards(rows: ScoredRows, scenario: str, world: int) -> list[list[ScoredRows]]:
    """Batches of each rank. Requests alternate between ranks, in batches that differ in size from rank to rank."""
    request = (rows.request_id - 3) // 7
    if world == 1:
        return [[rows.select(request == r) for r in range(len(SIZES))]]
    if scenario == "one empty rank":
        return [[], [rows]]
    padding = rows.map(lambda tensor: tensor[:5].clone())
    padding.weight.zero_()
    padding.score.fill_(99.0)
    even, odd = rows.select(request % 2 == 0), rows.select(request % 2 == 1)
    again = rows.select(request == 4)
    return [[even, padding], [again, *(odd.select(odd.request_id == r) for r in odd.request_id.unique().flip(0))]]


def measure(scenario: str, rank: int, world: int) -> dict[str, str]:
    rows = make_table(SIZES, seed=3, teacher=scenario != "no teacher")
    state = MetricState()
    for part in shards(rows, scenario, world)[rank]:
        state.update(part)
    gathered = state.gather()
    values, sampled = MetricSuite(every_metric()).measure(gathered.rows, TASKS)
    errors = {f"{name} ±": float(part.standard_error()) for name, part in sampled.items()}
    return {name: value.hex() for name, value in {**values, **errors}.items()}


def refusal(rank: int, layouts_differ: bool) -> str:
    state = MetricState()
    if layouts_differ:
        state.update(make_table([2], teacher=rank == 0))
    try:
        state.gather()
    except DataError as error:
        return error.problem
    return "none"


def main(rank: int, world: int, folder: Path) -> None:
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{folder / 'rendezvous'}",
            rank=rank,
            world_size=world,
            timeout=timedelta(seconds=150),
        )
    results: dict[str, object] = {name: measure(name, rank, world) for name in ("uneven", "no teacher")}
    results["one empty rank"] = measure("one empty rank", rank, world)
    if world > 1:
        results["refusals"] = [refusal(rank, True), refusal(rank, False)]
        dist.destroy_process_group()
    (folder / f"{world}_{rank}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
