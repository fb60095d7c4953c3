"""Tables that two gloo ranks share by TorchRec learn what whole tables learn, and exchange checkpoints with them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from distill.errors import ConfigError
from distill.features import EmbeddingTables, ShardedTables, shards, table_factory
from distill.schema import Schema
from distill.training.rowwise_adagrad import RowwiseAdagrad
from distill.training.sharded_adagrad import ShardedAdagrad
from tests.batches import make_schema
from tests.patience import patience

RATES = (0.5, 0.1, 0.05)
# Ids of each step and rank; equal rows within a rank, on both, and a rank without any.
IDS = (([1, 2, 2, 7], [2, 9]), ([0, 9], []), ([3, 3, 1], [3, 5, 9]))
LENGTHS = (([1, 0, 3], [2]), ([2], [0]), ([1, 2], [0, 3]))
REASON = "TorchRec is not installed (docs/scale.md, Tables larger than a device)"
BIG_ROWS, BIG_WIDTH = 1_000_000, 16


def _schema(**changes: dict[str, int]) -> Schema:
    """A prepared schema with other sizes or widths of some fields."""
    schema = make_schema()
    fields = [f.model_copy(update=changes.get(f.name, {})) for f in schema.fields]
    return schema.model_copy(update={"fields": tuple(fields)})


def _small_schema() -> Schema:
    """Three fused tables of widths that TorchRec takes: of 32, 6 and, fewer than ranks, 1 row."""
    return _schema(hour={"embedding_dim": 8}, secret={"embedding_dim": 12, "size": 1})


def _loss(tables: EmbeddingTables, ids: list[int], lengths: list[int]) -> Tensor:
    """Two lookups of one table, so that a row's gradients come from several places."""
    flat = torch.tensor(ids, dtype=torch.long)
    rows, means = tables.rows(4, flat), tables.mean(4, flat, torch.tensor(lengths))
    other, single = tables.rows(8, flat % 6), tables.rows(12, flat * 0)
    return rows.square().sum() + (3 * means).sin().sum() + other.pow(3).sum() + single.exp().sum()


def _seeded(kind: str | None) -> EmbeddingTables:
    torch.manual_seed(3)
    return table_factory(kind)(_small_schema(), 4, 0.5)


def _train_whole() -> tuple[EmbeddingTables, RowwiseAdagrad]:
    tables = _seeded(None)
    optimizer = RowwiseAdagrad([(f"tables.{name}", p) for name, p in tables.named_parameters()], lr=1.0)
    for step, rate in enumerate(RATES):
        optimizer.param_groups[0]["lr"] = rate
        for parameter in tables.parameters():
            parameter.grad = None
        sum(_loss(tables, *pair) / 2 for pair in zip(IDS[step], LENGTHS[step], strict=True)).backward()  # type: ignore[union-attr]
        optimizer.step()
    return tables, optimizer


def _run_ranks(worker: Callable[..., None], *args: str) -> None:
    """Runs `worker(rank, *args)` in two processes and leaves none behind."""
    context = mp.spawn(worker, args=args, nprocs=2, join=False)
    deadline = time.monotonic() + patience()
    try:
        while not context.join(timeout=1):
            assert time.monotonic() < deadline, "the ranks hang"
    finally:
        for process in context.processes:
            process.kill()
            process.join()


def _worker(rank: int, folder: str, kind: str) -> None:
    shards._BLOCK_ROWS = 8  # tables are drawn and collected in several blocks
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    tables = _seeded(kind)
    assert isinstance(tables, ShardedTables)
    found: dict[str, Any] = {"start": tables.state_dict(), "rates": []}
    optimizer = ShardedAdagrad({"tables": tables}, lr=1.0)
    for step, rate in enumerate(RATES):
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        loss = _loss(tables, IDS[step][rank], LENGTHS[step][rank])
        loss.backward()
        optimizer.step()
    found |= {"end": tables.state_dict(), "optimizer": optimizer.state_dict()}
    # from whole tables, trained elsewhere, and back
    whole = torch.load(f"{folder}/whole.pt", weights_only=True)
    tables.load_state_dict(whole["weights"])
    optimizer.load_state_dict(whole["optimizer"])
    found |= {"back": tables.state_dict(), "back_optimizer": optimizer.state_dict(), "local": _num_local(tables)}
    with torch.no_grad():
        found["looked_up"] = tables.rows(4, torch.tensor([[rank, 9], [5, 5]]))
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def _num_local(tables: ShardedTables) -> int:
    return sum(parameter.numel() for table in tables._tables.values() for parameter in table._collection.parameters())


@pytest.mark.parametrize("kind", ["row_wise", "table_wise", "planned"])
def test_equal_to_whole_tables(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("torchrec", reason=REASON)
    whole, optimizer = _train_whole()
    start = _seeded(None).state_dict()
    torch.save({"weights": whole.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "whole.pt")
    _run_ranks(_worker, str(tmp_path), kind)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert first["start"].keys() == start.keys()
    for name, weight in start.items():
        assert torch.equal(first["start"][name], weight), "the same seed gives the same rows"
        torch.testing.assert_close(first["end"][name], whole.state_dict()[name], rtol=1e-5, atol=1e-6)
        assert torch.equal(first["back"][name], whole.state_dict()[name])
        assert second["end"][name].numel() == 0
    expected = optimizer.state_dict()
    assert first["optimizer"]["param_groups"] == expected["param_groups"]
    for i, state in expected["state"].items():
        torch.testing.assert_close(first["optimizer"]["state"][i]["sum"], state["sum"], rtol=1e-5, atol=1e-6)
        assert torch.equal(first["back_optimizer"]["state"][i]["sum"], state["sum"])
    for rank, found in enumerate((first, second)):
        assert torch.equal(found["looked_up"], whole.rows(4, torch.tensor([[rank, 9], [5, 5]])))
    total = sum(2 * -(-weight.shape[0] // 2) * weight.shape[1] for weight in start.values())  # a row for each rank
    assert first["local"] + second["local"] == total
    assert first["local"] < total


def _memory(name: str) -> int:
    """Bytes of this process: `VmRSS` now, `VmHWM` the most since `_forget_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def _use(tables: EmbeddingTables, rank: int) -> None:
    """Trains a few steps and looks rows up as an evaluation does."""
    optimizer = ShardedAdagrad({"tables": tables}, lr=0.1) if isinstance(tables, ShardedTables) else None
    for step in range(3):
        ids = torch.arange(rank, BIG_ROWS, 997 + step)
        tables.rows(BIG_WIDTH, ids).square().sum().backward()
        if optimizer is not None:
            optimizer.step()
            optimizer.zero_grad()
    with torch.no_grad():
        tables.rows(BIG_WIDTH, torch.arange(0, BIG_ROWS, 991))


def _big_tables(rank: int, folder: str) -> None:
    shards._BLOCK_ROWS = 1 << 14
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    growth: list[int] = []
    sizes = ((1000, "row_wise"), (BIG_ROWS, "row_wise"), (BIG_ROWS, "row_wise"), (BIG_ROWS, None))
    start = 0
    for size, kind in sizes:  # the first for what is imported and allocated once; each frees the one before
        start = _memory("VmRSS") if len(growth) < 2 else start
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        of_item = {"size": size, "embedding_dim": BIG_WIDTH}
        schema = _schema(item=of_item, history={"size": size}, hour={"embedding_dim": BIG_WIDTH})
        tables = table_factory(kind)(schema, BIG_WIDTH, 0.05)
        _use(tables, rank) if size == BIG_ROWS else tables.rows(BIG_WIDTH, torch.arange(rank, 9))
        del tables
        growth.append(_memory("VmHWM") - start)
    torch.save(growth, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks of memory are read from Linux")
def test_no_rank_ever_holds_a_whole_table(tmp_path: Path) -> None:
    pytest.importorskip("torchrec", reason=REASON)
    _run_ranks(_big_tables, str(tmp_path))
    whole = 4 * BIG_ROWS * BIG_WIDTH
    for rank in range(2):
        _, sharded, second, control = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert 0.5 * whole <= sharded < 0.8 * whole
        assert second < 0.8 * whole, "the tables of the model before have been freed"
        assert control >= whole, "the measure sees a whole table"


def test_one_process_has_whole_tables() -> None:
    assert type(_seeded("row_wise")) is EmbeddingTables


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="Unknown sharding"):
        table_factory("column_wise")
