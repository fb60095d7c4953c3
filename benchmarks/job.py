"""Runs a benchmark, shows its table and writes it as JSON."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.table import Table

from benchmarks.rows import BenchmarkRow
from distill import __version__
from distill.console import plain_console
from distill.files import write_text_atomic
from distill.jobs.node import build, plain


class Benchmark(Protocol):
    """What `benchmark=NAME` names."""

    def run(self, paths: DictConfig) -> list[BenchmarkRow]:
        """Measures; data and scratch files go below `paths`."""


def run(cfg: DictConfig) -> list[BenchmarkRow]:
    """Runs `benchmark`, prints its table and writes `benchmark.json` into the run folder."""
    benchmark: Benchmark = build(cfg.benchmark, "benchmark")
    rows = benchmark.run(cfg.paths)
    path = Path(HydraConfig.get().runtime.output_dir) / "benchmark.json"
    report = {"machine": _machine(), "benchmark": plain(cfg.benchmark), "rows": [asdict(row) for row in rows]}
    write_text_atomic(path, json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    console = plain_console()
    console.print(_table(rows))
    console.print(", ".join(f"{name} {value}" for name, value in _machine().items()), soft_wrap=True)
    console.print(f"Written to {path}", soft_wrap=True)
    return rows


def _machine() -> dict[str, str | int]:
    return {
        "distill": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "lightning": version("pytorch-lightning"),
        "pyarrow": pa.__version__,
        "cores": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "processor": platform.machine(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def _table(rows: list[BenchmarkRow]) -> Table:
    table = Table(title="Ratios are medians over turns in this run; compare no absolute figures between runs.")
    table.add_column("what")
    for name in ("value", "ratio", "target"):
        table.add_column(name, justify="right")
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.3f} × {row.against}"
        table.add_row(row.name, f"{_short(row.value)} {row.unit}", ratio, row.target or "")
    return table


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
