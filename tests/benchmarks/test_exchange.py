"""The bytes that the benchmark counts are those that ranks receive."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from benchmarks.exchange import bytes_of_all_reduce, bytes_of_rows
from distill.ops.rows import sparse_rows
from distill.training import sparse_sync
from distill.training.sparse_sync import average_sparse_gradients

WORLD = 4


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of each gathering of four ranks that all send the same."""
    found: list[int] = []

    def all_gather(buffers: list[Tensor], own: Tensor, group: object = None, async_op: bool = False) -> SimpleNamespace:
        for buffer in buffers:
            buffer.copy_(own)
        found.append((len(buffers) - 1) * own.numel() * own.element_size())
        return SimpleNamespace(wait=lambda: None)

    monkeypatch.setattr(dist, "all_gather", all_gather)
    monkeypatch.setattr(dist, "get_world_size", lambda group=None: WORLD)
    monkeypatch.setattr(sparse_sync, "world_size", lambda: WORLD)
    return found


@pytest.mark.parametrize("width", [1, 16])
def test_touched_rows(width: int, received: list[int]) -> None:
    table = nn.Parameter(torch.zeros(50, width))
    rows, values = torch.tensor([3, 49, 7, 3]), torch.arange(4.0).unsqueeze(1).repeat(1, width)
    table.grad = sparse_rows(rows, values, table.shape)
    average_sparse_gradients([table])
    assert sum(received) == bytes_of_rows([3] * WORLD, width)
    assert table.grad.to_dense()[:, 0].nonzero().flatten().tolist() == [3, 7, 49]
    assert table.grad.to_dense()[[3, 7, 49], 0].tolist() == [3.0, 2.0, 1.0]


def test_one_waiting_for_the_sizes_of_all_tables(received: list[int]) -> None:
    tables = [nn.Parameter(torch.zeros(9, 2)) for _ in range(3)]
    tables[1].grad = sparse_rows(torch.tensor([1]), torch.ones(1, 2), tables[1].shape)
    average_sparse_gradients(tables)
    assert len(received) == 1 + 2 * len(tables)
    assert [float(table.grad.to_dense().sum()) for table in tables] == [0.0, 2.0, 0.0]  # type: ignore[union-attr]
    average_sparse_gradients([])


def test_all_reduce() -> None:
    assert bytes_of_all_reduce(1000, 2) == 4000
    assert bytes_of_all_reduce(1000, 4) == 6000
