"""Finds or prepares the dataset that a config names."""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig

from distill.data.build import build_dataset
from distill.data.dataset import load_dataset
from distill.data.format import SCHEMA_FILE, Dataset
from distill.data.raw import DescribedSource
from distill.errors import ConfigError
from distill.in_use import use
from distill.jobs.node import build
from distill.ops.ranks import rank
from distill.reports.contents_warnings import contents_warnings
from distill.schema import Schema, load_schema
from distill.training.rendezvous import text_of_rank_zero

_log = logging.getLogger(__name__)


def raw_schema(cfg: DictConfig) -> Schema | None:
    """Returns the schema of the data that a config names, as far as it is known without preparing any.

    Raises:
        SchemaError: The file that is to hold it does not, or is not there.
    """
    if cfg.data.get("root") is not None:
        return load_schema(Path(cfg.data.root) / SCHEMA_FILE)
    source = None if cfg.data.get("adapter") is None else build(cfg.data.adapter, "data.adapter")
    return source.raw_schema() if isinstance(source, DescribedSource) else None


def open_dataset(cfg: DictConfig) -> Dataset:
    """Opens the prepared dataset `data.root`, or prepares the one that `data.adapter` describes; all ranks call it.

    What is suspicious about it is not said yet: a run that may not go on writes nothing.

    Raises:
        ConfigError: The config names neither.
    """
    reads = cfg.data.get("root") is None and cfg.data.get("adapter") is not None and "source" in cfg.data.adapter
    if cfg.data.get("source") is not None and not reads:
        raise ConfigError(
            "This data set reads no raw files.",
            where="data.source",
            found=str(cfg.data.source),
            remedy="Leave it out, or choose data=parquet or one of data=movielens_…",
        )
    if cfg.data.get("root") is not None:
        root = Path(cfg.data.root)
        use(root, root.parent / f".{root.name}.lock")
        return load_dataset(root)
    if cfg.data.get("adapter") is None:
        raise ConfigError("The config names no dataset.", where="data", expected="data.root or data.adapter")
    source = build(cfg.data.adapter, "data.adapter")
    if rank() == 0:
        dataset = build_dataset(source, Path(cfg.paths.data))
        text_of_rank_zero(str(dataset.root))
        return dataset
    return load_dataset(Path(text_of_rank_zero("")))  # rank 0 has verified the content


def warn_of_contents(dataset: Dataset) -> Dataset:
    """Says, once for all ranks, what is suspicious about a dataset, and returns it."""
    if rank() == 0:
        for line in contents_warnings(dataset):
            _log.warning("WARNING: %s", line)
    return dataset
