"""One fused table as a sharded TorchRec collection: lookups, fused updates, and its rows as a whole.

The only module that knows TorchRec.
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from distill.errors import ConfigError

KINDS = ("row_wise", "table_wise", "planned")
EPS = 1e-8
_BLOCK_ROWS = 1 << 18
_FEATURE = "ids"
_LIBRARIES = {"fbgemm_gpu", "torchrec"}


def _torchrec(module: str) -> Any:
    _quiet_libraries()
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            "Sharded embedding tables need TorchRec.",
            where="embedding.sharding",
            found=str(error),
            remedy="Install it as docs/scale.md says, or choose embedding=default.",
        ) from error


def _quiet_libraries() -> None:
    """Leaves out what FBGEMM and TorchRec tell loggers about themselves; their errors stay."""
    for name in (*_LIBRARIES, "torch.fx._symbolic_trace"):  # the last warns of what TorchRec calls
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger().addFilter(_is_worth_reading)


def _is_worth_reading(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR or _LIBRARIES.isdisjoint(Path(record.pathname).parts)


class ShardedTable:
    """A table `[count, width]` over all ranks of the process group, with fused row-wise Adagrad.

    Args:
        count: Number of rows.
        width: Of a row.
        kind: `row_wise`, `table_wise` or `planned`.
        index: Number of the table in its model; a table-wise one lies on rank `index` modulo their number.

    Raises:
        ConfigError: TorchRec is not installed or does not take the width.
    """

    def __init__(self, count: int, width: int, kind: str, index: int) -> None:
        if width % 4:
            raise ConfigError(
                "TorchRec needs widths that are multiples of 4.",
                where="model.net.embedding_dim",
                expected=str(-(-width // 4) * 4),
                found=str(width),
                remedy="Change it (or that of the field), or choose embedding=default.",
            )
        self.count, self.width = count, width
        world = dist.get_world_size()
        self._padded = -(-count // world) * world  # TorchRec's kernels fail on a rank that has no row
        on_gpu = dist.get_backend() == "nccl"
        self.device = torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")
        self._name = f"width_{width}"
        self._collection = self._shard(kind, index)
        self._jagged = _torchrec("torchrec.sparse.jagged_tensor").KeyedJaggedTensor

    def lookup(self, ids: Tensor) -> Tensor:
        """Returns the rows `[n, width]` of `ids [n]`, without gradient; a collective."""
        with torch.no_grad():
            return self._rows(ids).detach()

    def update(self, ids: Tensor, gradients: Tensor, lr: float, eps: float) -> None:
        """Updates rows by the mean over ranks of the gradients of each row; a collective.

        Args:
            ids: `[n]`, distinct.
            gradients: `[n, width]` of this rank.
            lr: Learning rate.
            eps: Must be the one that the table was made with.

        Raises:
            ConfigError: `eps` is another.
        """
        if eps != EPS:
            raise ConfigError("TorchRec's Adagrad has a fixed eps.", expected=str(EPS), found=str(eps))
        optimizer = self._collection.fused_optimizer
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()  # hands the learning rate to the kernels; they update during backward
        with torch.enable_grad():
            torch.autograd.backward(self._rows(ids), gradients)

    def _rows(self, ids: Tensor) -> Tensor:
        lengths = torch.tensor([ids.shape[0]], device=ids.device)
        batch = self._jagged(keys=[_FEATURE], values=ids, lengths=lengths)
        rows: Tensor = self._collection(batch)[_FEATURE].values()
        return rows

    def _weight(self) -> Any:
        return self._collection.state_dict()[f"embeddings.{self._name}.weight"]

    def _accumulator(self) -> Any:
        states = self._collection.fused_optimizer.state_dict()["state"]
        state = states.get(f"embeddings.{self._name}.weight")
        return None if state is None else state[f"{self._name}.momentum1"]

    def fill_normal(self, std: float) -> None:
        """Draws the initial rows, the same as of a whole table: each rank draws all and keeps its own."""
        shards = self._local(self._weight())
        for start in range(0, self.count, _BLOCK_ROWS):
            stop = self.count if self.count - start < 2 * _BLOCK_ROWS else start + _BLOCK_ROWS
            block = torch.randn(stop - start, self.width) * std
            _copy(block, start, shards)
            if stop == self.count:
                break  # the last block is the longer for it: torch draws the end of a tensor in its own way

    def gather_weight(self) -> Tensor:
        """Returns the rows `[count, width]` on rank 0, in host memory, and none elsewhere; a collective."""
        return self._gather(self._local(self._weight()), (self.width,))

    def gather_accumulator(self) -> Tensor:
        """Returns Adagrad's accumulators `[count]` on rank 0, in host memory, and none elsewhere; a collective."""
        return self._gather(self._local(self._accumulator()), ())

    def load_weight(self, whole: Tensor) -> None:
        """Copies this rank's part of the rows `[count, width]`."""
        _copy(whole, 0, self._local(self._weight()))

    def load_accumulator(self, whole: Tensor) -> None:
        """Copies this rank's part of the accumulators `[count]`."""
        _copy(whole, 0, self._local(self._accumulator()))

    def _gather(self, shards: Sequence[tuple[int, Tensor]], tail: tuple[int, ...]) -> Tensor:
        local, first = dict(shards), dist.get_rank() == 0
        whole = torch.empty((self.count if first else 0, *tail))
        for start, size, owner in self._placement:
            stop = min(start + size, self.count)
            for a in range(start, stop, _BLOCK_ROWS):
                b = min(a + _BLOCK_ROWS, stop)
                if owner == dist.get_rank():
                    block = local[start][a - start : b - start].contiguous()
                    if first:
                        whole[a:b] = block.cpu()
                    else:
                        dist.send(block, dst=0)
                elif first:
                    received = torch.empty((b - a, *tail), device=self.device)
                    dist.recv(received, src=owner)
                    whole[a:b] = received.cpu()
        return whole

    def _shard(self, kind: str, index: int) -> Any:
        configs = _torchrec("torchrec.modules.embedding_configs")
        config = configs.EmbeddingConfig(
            name=self._name, embedding_dim=self.width, num_embeddings=self._padded, feature_names=[_FEATURE]
        )
        whole = _torchrec("torchrec.modules.embedding_modules").EmbeddingCollection(
            tables=[config], device=torch.device("meta")
        )
        adagrad = _torchrec("fbgemm_gpu.split_embedding_configs").EmbOptimType.EXACT_ROWWISE_ADAGRAD
        sharder = _torchrec("torchrec.distributed.embedding").EmbeddingCollectionSharder(
            fused_params={"optimizer": adagrad, "learning_rate": 0.0, "eps": EPS}
        )
        plan = self._plan(kind, index, whole, sharder)
        shards = plan[self._name].sharding_spec.shards
        self._placement = [(s.shard_offsets[0], s.shard_sizes[0], s.placement.rank()) for s in shards]
        env = _torchrec("torchrec.distributed.types").ShardingEnv.from_process_group(dist.group.WORLD)
        with torch.random.fork_rng():  # TorchRec draws rows of its own, which are overwritten
            return sharder.shard(whole, plan, env, self.device)

    def _plan(self, kind: str, index: int, whole: Any, sharder: Any) -> Any:
        world, local = dist.get_world_size(), int(os.environ.get("LOCAL_WORLD_SIZE", dist.get_world_size()))
        if kind == "planned":
            return self._planned(whole, sharder, world, local)
        plans = _torchrec("torchrec.distributed.sharding_plan")
        fused = "fused"
        chosen = (
            plans.row_wise(compute_kernel=fused)
            if kind == "row_wise"
            else plans.table_wise(rank=index % world, compute_kernel=fused)
        )
        return plans.construct_module_sharding_plan(
            whole,
            {self._name: chosen},
            sharder=sharder,
            local_size=local,
            world_size=world,
            device_type=self.device.type,
        )

    def _planned(self, whole: Any, sharder: Any, world: int, local: int) -> Any:
        planner = _torchrec("torchrec.distributed.planner")
        types = _torchrec("torchrec.distributed.planner.types")
        topology = types.Topology(world_size=world, local_world_size=local, compute_device=self.device.type)
        allowed = types.ParameterConstraints(sharding_types=["row_wise", "table_wise"], compute_kernels=["fused"])
        found = planner.EmbeddingShardingPlanner(topology=topology, constraints={self._name: allowed}, debug=False)
        plan = found.collective_plan(whole, [sharder], dist.group.WORLD)
        return next(iter(plan.plan.values()))

    @staticmethod
    def _local(sharded: Any) -> list[tuple[int, Tensor]]:
        if sharded is None:
            return []
        return [(shard.metadata.shard_offsets[0], shard.tensor) for shard in sharded.local_shards()]


@torch.no_grad()
def _copy(block: Tensor, start: int, shards: Sequence[tuple[int, Tensor]]) -> None:
    """Copies rows `start …` of a table into the shards (first row, rows) that they belong to."""
    for first, rows in shards:
        a, b = max(start, first), min(start + block.shape[0], first + rows.shape[0])
        if a < b:
            rows[a - first : b - first] = block[a - start : b - start].to(rows)
