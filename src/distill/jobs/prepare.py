"""Prepares the dataset that a config names and says what is in it."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from distill.console import plain_console
from distill.data.build import build_dataset
from distill.data.format import Dataset
from distill.data.prepare import prepare
from distill.errors import ConfigError
from distill.files import raw_sibling, remove_leftovers
from distill.jobs.node import build
from distill.lock import locked
from distill.reports.contents import contents_lines, tables
from distill.reports.contents_warnings import contents_warnings
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
        with locked(out.parent / f".{out.name}.lock"):
            remove_leftovers(out)
            with raw_sibling(out) as raw:
                dataset = prepare(source.write_raw(raw), out, memory_bytes=cfg.memory_bytes)
    describe(dataset, plain_console())
    return dataset


def describe(dataset: Dataset, console: Console) -> None:
    """Prints what a dataset is made of, and what is suspicious about it."""
    lines, warnings = contents_lines(dataset), contents_warnings(dataset)
    if dataset.schema.teacher is not None and dataset.manifest.teacher is not None:
        described = (dataset.manifest.teacher, dataset.schema, dataset.schema.teacher.kind)
        lines += teacher_lines(*described)
        warnings += teacher_warnings(*described)
    console.print(*tables(dataset))
    for line in lines:
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    for line in warnings:
        console.print(f"WARNING: {line}", style="bold red", soft_wrap=True, markup=False, highlight=False)
    console.print(f"Use it with data=prepared data.root={dataset.root}", soft_wrap=True, markup=False)
