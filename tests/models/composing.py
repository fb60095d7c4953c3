"""Models as the command line builds them, and data of three kinds to build them for."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from sklearn.metrics import roc_auc_score
from torch import nn

from benchmarks.conf_folder import WITH_BENCHMARKS
from distill.batch import Batch
from distill.data.datamodule import Loading, RankingDataModule
from distill.jobs.app import register_resolvers
from distill.jobs.datasets import open_dataset
from distill.jobs.node import plain
from distill.jobs.parts import build_model
from distill.losses.functional import bce_with_logits
from distill.schema import Schema
from tests.jobs.archives import write_movielens_100k
from tests.jobs.entry import ROOT

DATASETS = ("funnel", "movielens", "flat")
FLAT_ROWS = 2000


@contextmanager
def composing() -> Iterator[None]:
    """The configs of the repository, as train.py sees them."""
    register_resolvers()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield


def composed_net(model: str, *overrides: str) -> dict[str, Any]:
    """The config of a model of `conf/model`, small: widths of 4."""
    net = copy.deepcopy(_net(model, *overrides))
    for name in ("embedding_dim", "vector_dim"):
        if name in net:
            net[name] = 4
    return dict(net)


@cache
def _net(model: str, *overrides: str) -> Any:
    with composing():
        return plain(compose("config", [f"model={model}", *overrides]).model.net)


def build(model: str, schema: Schema, *overrides: str) -> nn.Module:
    """Builds a model of `conf/model` for a schema."""
    torch.manual_seed(0)
    return build_model(composed_net(model, *overrides), schema, "model.net")


def prepare_data(kind: str, root: Path) -> tuple[Schema, Batch]:
    """Prepares a small data set of a kind and returns its schema and a batch of its training split."""
    arguments = {
        "funnel": ["data=funnel_tiny"],
        "movielens": ["data=movielens_100k", f"data.source={root / 'ml-100k'}", "data.adapter.negatives=10"],
        "flat": [
            WITH_BENCHMARKS,
            "data=benchmark_flat",
            f"data.adapter.rows={FLAT_ROWS}",
            "data.adapter.total_ids=3000",
        ],
    }[kind]
    if kind == "movielens":
        write_movielens_100k(root / "ml-100k")
    with composing():
        cfg: DictConfig = compose("config", [*arguments, f"paths.data={root / 'data'}"])
        dataset = open_dataset(cfg)
    data = RankingDataModule(dataset.root, Loading(256, prefetch=False))
    data.setup("fit")
    return dataset.schema, next(iter(data.train_dataloader()))


def overfit(model: nn.Module, batch: Batch, steps: int = 200) -> Mapping[int, float]:
    """Trains on one batch and returns the AUC of each task on it."""
    sparse = [p for n, p in model.named_parameters() if "tables" in n]
    dense = [p for n, p in model.named_parameters() if "tables" not in n]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.SparseAdam(sparse, lr=0.05)] if sparse else []
    optimizers += [torch.optim.Adam(dense, lr=0.02)] if dense else []
    for _ in range(steps):
        output = model(batch)
        loss = bce_with_logits(output.logits, batch.labels).mean()
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
    with torch.no_grad():
        logits = model.eval()(batch).logits
    return {k: float(roc_auc_score(batch.labels[:, k].numpy(), logits[:, k].numpy())) for k in range(logits.shape[1])}
