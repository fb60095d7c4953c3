"""Two real processes: gradients of tables, and ragged gathers."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from distill.features import EmbeddingTables, table_factory
from distill.ops.ranks import gather_ragged
from distill.training.optim import OptimizerFactory
from distill.training.row_regularization import RowRegularization
from distill.training.sparse_sync import average_sparse_gradients, broadcast_tables
from tests.batches import make_schema
from tests.patience import patience

IDS = ([1, 2, 2, 7], [2, 9])
# L2, a greatest norm and Adam on the table of 5 rows, after the ranks' gradients are one.
OPTIMIZER = OptimizerFactory(
    *(0.01, 0.0, (0.9, 0.999), "rowwise_adagrad", 0.1, 0.0), RowRegularization(0.1, "all", 0.05), 5
)


def _worker(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.manual_seed(rank)
    tables = EmbeddingTables(make_schema(), 4)
    params = list(tables.parameters())
    broadcast_tables(params)
    if IDS[rank]:
        loss = tables.rows(4, torch.tensor(IDS[rank])).square().sum()
        loss.backward()
    average_sparse_gradients(params)
    ragged = gather_ragged(torch.arange(float(rank * 3)))
    grads = [p.grad.to_dense() for p in params if p.grad is not None]
    weights = [p.detach().clone() for p in params]
    OPTIMIZER.build(nn.ModuleList([tables, nn.Linear(2, 1)])).step()
    stepped = [p.detach() for p in params]
    saved = {"weights": weights, "grads": grads, "ragged": ragged, "stepped": stepped}
    torch.save(saved, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def _stored_worker(rank: int, folder: str) -> None:
    """Ranks of other seeds, of which one may have touched no row; their tables are in bfloat16."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.manual_seed(rank)
    tables = table_factory(None, "bfloat16")(make_schema(), 4, 0.05)
    params = list(tables.parameters())
    broadcast_tables(params)
    optimizer = OPTIMIZER.build(nn.ModuleList([tables, nn.Linear(2, 1)]))
    for step in range(20):
        optimizer.zero_grad()
        if rank == 0 or step % 2:
            tables.rows(4, torch.tensor(IDS[rank]) + step % 5).square().sum().backward()
        average_sparse_gradients(params)
        optimizer.step()
    torch.save([p.detach() for p in params], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_table_gradients_are_the_mean_over_ranks_and_equal_everywhere(tmp_path: Path) -> None:
    workers = mp.spawn(_worker, args=(str(tmp_path),), nprocs=2, join=False, daemon=True)
    deadline = time.monotonic() + patience()
    while not workers.join(timeout=1):
        assert time.monotonic() < deadline, "the processes wait for each other"
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    for name in ("weights", "grads", "stepped"):
        for a, b in zip(first[name], second[name], strict=True):
            assert torch.equal(a, b)
    torch.manual_seed(0)
    tables = EmbeddingTables(make_schema(), 4)
    for own, saved in zip(tables.parameters(), first["weights"], strict=True):
        assert torch.equal(own.detach(), saved)
    (sum(tables.rows(4, torch.tensor(ids)).square().sum() for ids in IDS) / 2).backward()  # type: ignore[union-attr]
    grad = tables.weights["4"].grad
    assert grad is not None
    torch.testing.assert_close(first["grads"][0], grad.to_dense())
    assert torch.equal(first["grads"][1], torch.zeros(6, 3))
    OPTIMIZER.build(nn.ModuleList([tables, nn.Linear(2, 1)])).step()
    for own, stepped in zip(tables.parameters(), first["stepped"], strict=True):
        torch.testing.assert_close(own.detach(), stepped)
    assert [t.tolist() for t in first["ragged"]] == [[], [0.0, 1.0, 2.0]]


@pytest.mark.slow
def test_tables_in_bfloat16_are_the_same_on_every_rank(tmp_path: Path) -> None:
    workers = mp.spawn(_stored_worker, args=(str(tmp_path),), nprocs=2, join=False, daemon=True)
    deadline = time.monotonic() + patience()
    while not workers.join(timeout=1):
        assert time.monotonic() < deadline, "the processes wait for each other"
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    torch.manual_seed(0)
    begun = list(table_factory(None, "bfloat16")(make_schema(), 4, 0.05).parameters())
    assert [p.dtype for p in first] == [torch.bfloat16] * len(begun)
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first[0], begun[0])
