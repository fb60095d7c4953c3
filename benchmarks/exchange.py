"""What ranks send each other in a step: touched rows by all-gather, against an all-reduce of the whole gradient."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor

from benchmarks.exchange_worker import BY_NODES, IN_TURN, TOGETHER, are_nodes, touched
from benchmarks.rows import BenchmarkRow
from distill.errors import DataError
from distill.jobs.targets import Part

_ROOT = Path(__file__).resolve().parents[1]
_TIMEOUT = 1800.0
_ID, _FLOAT, _COUNT = 4, 4, 8  # bytes


def bytes_of_rows(rows: Sequence[int], width: int) -> int:
    """Returns the bytes that a rank receives when all ranks exchange touched rows: (W − 1)·(max n·(4 + 4D) + 8).

    Every rank sends its row ids (of 32 bits) and their gradients (float32), filled up to the most that any has, and
    before these how many there are.

    Args:
        rows: Distinct touched rows n of each of the W ranks.
        width: D of the table.
    """
    return (len(rows) - 1) * (max(rows) * (_ID + _FLOAT * width) + _COUNT)


@dataclass(frozen=True)
class NodeBytes:
    """What a rank of several machines receives when they exchange touched rows node by node.

    Attributes:
        inside: From ranks of its own machine.
        between: From the others.
    """

    inside: int
    between: int

    @classmethod
    def of(cls, ids: Sequence[Sequence[Tensor]], node: int, place: int, width: int) -> NodeBytes:
        """Counts them: inside, (L − 1)·((n + t)·(4 + 4D) + 16); between, (M − 1)·(s·(4 + 4D) + 8).

        n is the most rows that a rank of the node touched; s, of what all ranks of a node touched together, the most
        whose id is `place` modulo L; t, of what all ranks touched, the most that have one place.

        Args:
            ids: Distinct touched rows of the L ranks of each of the M nodes.
            node: Of the rank.
            place: Of the rank in its node.
            width: D of the table.
        """
        places = len(ids[node])
        of_nodes = [torch.unique(torch.cat(list(ranks))) for ranks in ids]
        shares = [int((rows % places == place).sum()) for rows in of_nodes]
        results = torch.bincount(torch.unique(torch.cat(of_nodes)) % places, minlength=places).tolist()
        own = bytes_of_rows([len(rows) for rows in ids[node]], width) + bytes_of_rows(results, width)
        return cls(own, bytes_of_rows(shares, width))


def bytes_of_all_reduce(numbers: int, world: int) -> float:
    """Returns the bytes that a rank receives in a ring all-reduce of float32: 2·(W − 1)/W·4·numbers."""
    return 2 * (world - 1) / world * _FLOAT * numbers


@dataclass(frozen=True)
class ExchangeBenchmark(Part):
    """Times the exchange of gradients between processes on this machine, over gloo on the loopback.

    Attributes:
        worlds: Numbers of processes.
        nodes: Machines that the processes stand for, where there are more of them than that: rows are exchanged within
            each first.
        rows: Numbers of rows that each rank touches in a step.
        ids: Rows of the table.
        width: Of the table.
        dense: Dense weights that are all-reduced beside it.
        turns: How often each is timed.
    """

    worlds: Sequence[int]
    nodes: int
    rows: Sequence[int]
    ids: int
    width: int
    dense: int
    turns: int

    def run(self, paths: DictConfig) -> list[BenchmarkRow]:
        """Measures each number of processes with each number of rows."""
        return [row for world in self.worlds for rows in self.rows for row in self._measured(world, rows)]

    def _measured(self, world: int, rows: int) -> list[BenchmarkRow]:
        found = {name: statistics.median(times) for name, times in self._times(world, rows).items()}
        sent = {
            "touched rows": bytes_of_rows([rows] * world, self.width),
            BY_NODES: self._bytes_by_nodes(world, rows),
            "whole gradient": bytes_of_all_reduce(self.ids * self.width, world),
            "dense weights": bytes_of_all_reduce(self.dense, world),
        }
        sent |= dict.fromkeys((IN_TURN, TOGETHER), sent["touched rows"] + sent["dense weights"])
        title = f"exchange/{world} processes/{rows:,} rows"
        lines = []
        for name, seconds in found.items():
            whole = found["whole gradient"]
            lines.append(
                BenchmarkRow(f"{title}/{name}", 1000 * seconds, "ms", seconds / whole, "all-reduce of the whole table")
            )
            share = sent[name] / sent["whole gradient"]
            lines.append(BenchmarkRow(f"{title}/{name}, received", sent[name] / 1e6, "MB", share, "the whole table"))
        return lines

    def _bytes_by_nodes(self, world: int, rows: int) -> float:
        """Returns what rank 0 receives if the machines exchange their rows; 0 where they do not."""
        size = world // self.nodes
        if not are_nodes(world, self.nodes):
            return 0.0
        ids = [touched(rank, rows, self.ids) for rank in range(world)]
        found = NodeBytes.of([ids[node * size :][:size] for node in range(self.nodes)], 0, 0, self.width)
        return float(found.inside + found.between)

    def _times(self, world: int, rows: int) -> dict[str, list[float]]:
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch) / "times.json"
            task = {
                "meet": str(Path(scratch) / "meet"), "out": str(out), "world": world, "nodes": self.nodes, "rows": rows,
                "ids": self.ids, "width": self.width, "dense": self.dense, "turns": self.turns,
            }  # fmt: skip
            words = [sys.executable, "-m", "benchmarks.exchange_worker"]
            ranks = [
                subprocess.Popen([*words, json.dumps({**task, "rank": rank})], cwd=_ROOT, stderr=subprocess.PIPE)
                for rank in range(world)
            ]
            try:
                for rank in ranks:
                    _, said = rank.communicate(timeout=_TIMEOUT)
                    if rank.returncode != 0:
                        raise DataError("A rank of a measurement failed.", found=said.decode()[-500:])
            finally:
                for rank in ranks:
                    rank.kill()
            times: dict[str, list[float]] = json.loads(out.read_text(encoding="utf-8"))
            return times
