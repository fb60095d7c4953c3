"""Prepares the dataset that a config names and says what is in it."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from distill.console import plain_console
from distill.data.build import build_dataset
from distill.data.format import Dataset
from distill.data.prepare import KnownEncodings, prepare
from distill.data.raw import DatasetSource
from distill.engines import Engine
from distill.errors import ConfigError
from distill.files import raw_sibling, remove_leftovers
from distill.jobs.engine import engine_of
from distill.jobs.node import build
from distill.jobs.read_encodings import read_encodings
from distill.lock import locked
from distill.places.mirror import named
from distill.places.staged import begin_new, push
from distill.reports.contents import contents_lines, tables
from distill.reports.contents_warnings import contents_warnings
from distill.reports.teacher import teacher_lines, teacher_warnings


def run(cfg: DictConfig) -> Dataset:
    """Prepares `data` into `out`, or below paths.data where training finds it."""
    if cfg.data.get("adapter") is None:
        raise ConfigError("There is nothing to prepare.", where="data.adapter", remedy="Choose data=parquet, say.")
    source = build(cfg.data.adapter, "data.adapter")
    known = known_encodings(cfg)
    with engine_of(cfg) as engine:
        if cfg.out is None:
            root = Path(cfg.paths.data)
            dataset = build_dataset(source, root, known=known, memory_bytes=cfg.memory_bytes, engine=engine)
        else:
            dataset = _prepared_to(Path(cfg.out), source, known, cfg.memory_bytes, engine)
    describe(dataset, plain_console())
    return dataset


def _prepared_to(
    out: Path, source: DatasetSource, known: KnownEncodings | None, memory_bytes: int, engine: Engine
) -> Dataset:
    out.parent.mkdir(parents=True, exist_ok=True)
    with locked(out.parent / f".{out.name}.lock"):
        remove_leftovers(out)
        begin_new(out)
        with raw_sibling(out) as raw:
            dataset = prepare(source.write_raw(raw), out, known=known, memory_bytes=memory_bytes, engine=engine)
        push(out, replaces=False)
    return dataset


def known_encodings(cfg: DictConfig) -> KnownEncodings | None:
    """Returns the encodings that the config names, None where it names none.

    Raises:
        ConfigError: They are to grow, and none are named.
        DataError: They cannot be read.
    """
    if cfg.encodings is not None:
        return read_encodings(Path(cfg.encodings), bool(cfg.grow))
    if cfg.grow:
        raise ConfigError("There are no encodings to grow.", where="encodings", remedy="Name them: encodings=DATASET")
    return None


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
    use = f"Use it with data=prepared data.root={named(str(dataset.root))}"
    console.print(use, soft_wrap=True, markup=False, highlight=False)
