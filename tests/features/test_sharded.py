"""Tables that two gloo ranks share by TorchRec learn what whole tables learn, and exchange checkpoints with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from distill.errors import ConfigError
from distill.features import EmbeddingTables, ShardedTables, build_tables, table_sharding
from distill.schema import Schema
from distill.training.rowwise_adagrad import RowwiseAdagrad
from distill.training.sharded_adagrad import ShardedAdagrad
from tests.batches import make_schema

RATES = (0.5, 0.1, 0.05)
# Ids of each step and rank; equal rows within a rank, on both, and a rank without any.
IDS = (([1, 2, 2, 7], [2, 9]), ([0, 9], []), ([3, 3, 1], [3, 5, 9]))
LENGTHS = (([1, 0, 3], [2]), ([2], [0]), ([1, 2], [0, 3]))


def _schema() -> Schema:
    """Two fused tables, of widths that TorchRec takes."""
    schema = make_schema()
    fields = [f.model_copy(update={"embedding_dim": 8}) if f.embedding_dim else f for f in schema.fields]
    return schema.model_copy(update={"fields": tuple(fields)})


def _loss(tables: EmbeddingTables, ids: list[int], lengths: list[int]) -> Tensor:
    """Two lookups of one table, so that a row's gradients come from several places."""
    flat = torch.tensor(ids, dtype=torch.long)
    rows, means = tables.rows(4, flat), tables.mean(4, flat, torch.tensor(lengths))
    other = tables.rows(8, flat % 6)
    return rows.square().sum() + (3 * means).sin().sum() + other.pow(3).sum()


def _seeded(kind: str | None) -> EmbeddingTables:
    torch.manual_seed(3)
    with table_sharding(kind):
        return build_tables(_schema(), 4, 0.5)


def _train_whole() -> tuple[EmbeddingTables, RowwiseAdagrad]:
    tables = _seeded(None)
    optimizer = RowwiseAdagrad(tables.parameters(), lr=1.0)
    for step, rate in enumerate(RATES):
        optimizer.param_groups[0]["lr"] = rate
        for parameter in tables.parameters():
            parameter.grad = None
        sum(_loss(tables, *pair) / 2 for pair in zip(IDS[step], LENGTHS[step], strict=True)).backward()  # type: ignore[union-attr]
        optimizer.step()
    return tables, optimizer


def _worker(rank: int, folder: str, kind: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    tables = _seeded(kind)
    assert isinstance(tables, ShardedTables)
    found: dict[str, Any] = {"start": tables.state_dict(), "rates": []}
    optimizer = ShardedAdagrad([tables], lr=1.0)
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
    pytest.importorskip("torchrec")
    whole, optimizer = _train_whole()
    start = _seeded(None).state_dict()
    torch.save({"weights": whole.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "whole.pt")
    context = mp.spawn(_worker, args=(str(tmp_path), kind), nprocs=2, join=False)
    try:
        while not context.join(timeout=60):
            pass
    finally:
        for process in context.processes:
            process.kill()
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
    total = sum(weight.numel() for weight in start.values())
    assert first["local"] + second["local"] == total
    assert first["local"] < total


def test_one_process_has_whole_tables() -> None:
    assert type(_seeded("row_wise")) is EmbeddingTables


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="Unknown sharding"), table_sharding("column_wise"):
        pass
