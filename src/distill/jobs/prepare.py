"""Prepares the dataset that a config names and says what is in it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from distill.data.build import build_dataset
from distill.data.format import SPLITS, Dataset
from distill.data.prepare import prepare
from distill.errors import ConfigError
from distill.jobs.parts import build
from distill.reports.teacher import teacher_lines, teacher_warnings


def run(cfg: DictConfig) -> Dataset:
    """Prepares `data` into `out`, or below paths.data where training finds it."""
    if cfg.data.get("adapter") is None:
        raise ConfigError("There is nothing to prepare.", where="data.adapter", remedy="Choose data=parquet, say.")
    source = build(cfg.data.adapter, "data.adapter")
    if cfg.out is None:
        dataset = build_dataset(source, Path(cfg.paths.data), memory_bytes=cfg.memory_bytes)
    else:
        out = Path(cfg.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.raw-") as raw:
            dataset = prepare(source.write_raw(Path(raw)), out, memory_bytes=cfg.memory_bytes)
    console = Console()
    console.print(split_table(dataset), field_table(dataset))
    if dataset.schema.teacher is not None and dataset.manifest.teacher is not None:
        described = (dataset.manifest.teacher, dataset.schema, dataset.schema.teacher.kind)
        for line in teacher_lines(*described):
            console.print(line, soft_wrap=True)
        for line in teacher_warnings(*described):
            console.print(f"WARNING: {line}", style="bold red", soft_wrap=True)
    console.print(f"Use it with data=prepared data.root={dataset.root}", soft_wrap=True)
    return dataset


def split_table(dataset: Dataset) -> Table:
    """Rows, candidates and bytes of each split."""
    table = Table(title=f"{dataset.schema.name} ({dataset.schema.layout})", title_justify="left")
    table.add_column("split")
    for name in ("requests", "candidates", "MB"):
        table.add_column(name, justify="right")
    for split in SPLITS:
        parts = dataset.manifest.splits.get(split, ())
        sums = [sum(part.rows for part in parts), sum(part.candidates for part in parts)]
        size = sum(part.bytes for part in parts) / 1e6
        table.add_row(split, *(f"{n:,}" for n in sums), f"{size:,.1f}")
    return table


def field_table(dataset: Dataset) -> Table:
    """How each field was encoded, and what preparation counted on it."""
    table = Table(title="fields", title_justify="left")
    for name in ("field", "side", "kind", "encoding"):
        table.add_column(name)
    table.add_column("ids", justify="right")
    table.add_column("range in train", justify="right")
    for spec in dataset.schema.fields:
        low_high = dataset.manifest.ranges.get(spec.name)
        shown = "" if low_high is None else f"{low_high[0]:.4g} … {low_high[1]:.4g}"
        name = f"{spec.name} (privileged)" if spec.privileged else spec.name
        size = "" if spec.size is None else f"{spec.size:,}"
        table.add_row(name, spec.side.value, spec.kind.value, spec.encoding.type, size, shown)
    return table
